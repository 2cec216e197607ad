"""A Maildir that reports are delivered to: read mail moves from `new` to `cur`, flagged as seen."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog

from app.mail.mailboxes.unread import OCTETS, MailboxUnusable, Unread

_NAME_OCTETS = 255

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MaildirMailbox:
    """One Maildir on this host."""

    path: Path

    def unread(self) -> Iterator[Unread]:
        """Read what is in `new`; a file that cannot be read is left out, and there."""
        with _told(), os.scandir(self.path / "new") as entries:
            for entry in entries:
                if entry.name.startswith(".") or not entry.is_file(follow_symlinks=False):
                    continue
                content = _beginning(entry.path)
                if content is not None:
                    yield Unread(entry.name, content)

    def mark(self, keys: Sequence[str]) -> None:
        """Move mail to `cur` with the flag for seen."""
        with _told():
            (self.path / "cur").mkdir(mode=0o700, exist_ok=True)
            for key in keys:
                with contextlib.suppress(FileNotFoundError):
                    (self.path / "new" / key).rename(self._seen(key))

    def _seen(self, key: str) -> Path:
        """Return where a mail that was read belongs, where no other mail is."""
        cur, name = self.path / "cur", f"{key.partition(':')[0]}:2,S"
        is_free = len(os.fsencode(name)) <= _NAME_OCTETS and not (cur / name).exists()
        return cur / (name if is_free else f"{uuid4().hex}:2,S")


def _beginning(path: str) -> bytes | None:
    try:
        with Path(path).open("rb") as file:
            return file.read(OCTETS)
    except FileNotFoundError:  # somebody else has taken it
        return None
    except OSError as error:
        log.warning("mail_unreadable", error=type(error).__qualname__)
        return None


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MailboxUnusable("There is no Maildir at the path of the mailbox URL.") from error
    except OSError as error:
        raise MailboxUnusable(f"The Maildir cannot be used: {error.strerror}.") from error
