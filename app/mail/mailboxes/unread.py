"""What a mailbox is to whoever reads it, wherever it is kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

OCTETS = 1_048_576
"""So much of a mail is read: a report says what it has to say near its beginning."""


class MailboxUnusable(ValueError):
    """A mailbox cannot be opened, read or marked; the sentence holds no password."""


@dataclass(frozen=True, slots=True)
class Unread:
    """The beginning of a mail that nobody has read, and what its mailbox calls it."""

    key: str
    content: bytes


class Mailbox(Protocol):
    """Anything that mail comes to; its methods raise MailboxUnusable."""

    def unread(self) -> Iterator[Unread]:
        """Read mail one by one; reading leaves it unread."""
        ...

    def mark(self, keys: Sequence[str]) -> None:
        """Mark mail as read."""
        ...
