"""One mail as it goes on the wire, and the policy that reads and writes it unharmed."""

from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import EmailPolicy
from typing import cast

LINE_LENGTH = 998
"""RFC 5322 2.1.1: octets in a line, less CRLF."""

_NO_BREAKS = bytes(set(range(256)) - set(b"\r\n\0"))


@dataclass(frozen=True, slots=True)
class Message:
    """One message for one recipient; every attempt for one outbox row has the same bytes.

    `id` is the outbox row, `created_at` its time in UTC. `sender` and `recipient` are the
    envelope: the domain is an A-label, the local part may be non-ASCII (RFC 6531). `content` is
    RFC 5322 with CRLF line ends; `is_clean` if it was shown that it has no other line ends and no
    NUL, so that nobody needs to look again.
    """

    id: int
    created_at: datetime
    sender: str
    recipient: str
    content: bytes
    is_clean: bool = False


def has_clean_lines(content: bytes) -> bool:
    """Tell whether all lines end with CRLF and there is no NUL (RFC 5321 2.3.8).

    A bare CR or LF before a dot is the end of the mail to some servers, and the rest of it a mail
    of its own.
    """
    return len(content.translate(None, _NO_BREAKS)) == 2 * content.count(b"\r\n")


class MailPolicy(EmailPolicy):
    """Folds as SMTP asks, except for fields that machines read.

    The standard policies turn a List-Unsubscribe of more than 78 characters into an encoded-word,
    and one-click unsubscribing (RFC 8058) then fails without a sound. List-*, Message-ID and
    Feedback-ID stay on one raw line as long as that is ASCII and fits.
    """

    def fold(self, name: str, value: str) -> str:
        """Return the header as text."""
        return self._raw(name, value) or super().fold(name, value)

    def fold_binary(self, name: str, value: str) -> bytes:
        """Return the header as bytes."""
        raw = self._raw(name, value)
        return raw.encode("ascii") if raw else super().fold_binary(name, value)

    def _raw(self, name: str, value: str) -> str | None:
        if not name.lower().startswith(("list-", "message-id", "feedback-id")):
            return None
        line = f"{name}: {''.join(str(value).splitlines())}"
        return line + self.linesep if line.isascii() and len(line) <= LINE_LENGTH else None


POLICY = MailPolicy(linesep="\r\n")


def parse(content: bytes) -> EmailMessage:
    """Read a message back; what is wrong with it is listed in its `defects`."""
    return cast("EmailMessage", BytesParser(EmailMessage, policy=POLICY).parsebytes(content))
