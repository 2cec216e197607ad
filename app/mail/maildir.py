"""Mail in a folder on disk: delivered for development and tests, read by the mailbox page."""

import asyncio
import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path

from app.domain.retry import Outcome, Verdict
from app.mail.message import Message, parse


class MaildirTransport:
    """One Maildir; the folder and its `tmp`, `new` and `cur` are made at the first delivery."""

    name = "maildir"

    def __init__(self, path: Path, connections: int) -> None:
        """Touch nothing yet."""
        self.connections = connections
        self.path = path

    async def send(self, message: Message) -> Verdict:
        """Deliver one message durably; a second attempt replaces the first."""
        try:
            await asyncio.to_thread(_deliver, self.path, message)
        except OSError as error:
            return Verdict(Outcome.RETRY_TRANSPORT, _named(error))
        return Verdict(Outcome.SENT)

    async def close(self) -> None:
        """Hold nothing open."""


def _named(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def _deliver(path: Path, message: Message) -> None:
    """Write under another name, then rename: a reader sees the whole file or none."""
    for folder in ("tmp", "new", "cur"):
        (path / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    key = _key(message)
    draft = path / "tmp" / f"{key}.{secrets.token_hex(4)}"
    try:
        _write(draft, message.content)
        draft.rename(path / "new" / key)
    finally:
        draft.unlink(missing_ok=True)
    _sync(path / "new")


def _key(message: Message) -> str:
    """Return a file name that sorts by time and is the same at every attempt."""
    at = message.created_at
    return f"{int(at.timestamp()):010}.M{at.microsecond:06}Q{message.id:012}.newsletter"


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        path.chmod(0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make a rename survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail as the mailbox page shows it; `source` is the file as it is."""

    key: str
    date: datetime | None
    to: str
    subject: str
    text: str
    html: str
    source: bytes


def read_all(path: Path, limit: int | None = None) -> list[Mail]:
    """Return the mails of a Maildir, newest first; none if the folder does not exist."""
    files = sorted(_files(path), key=lambda file: file.name, reverse=True)[:limit]
    return [mail for file in files if (mail := _read(file))]


def read(path: Path, key: str) -> Mail | None:
    """Return one mail, or None; the key is only compared with names, never part of a path."""
    return next((_read(file) for file in _files(path) if _key_of(file) == key), None)


def _files(path: Path) -> Iterator[Path]:
    for folder in ("new", "cur"):
        with contextlib.suppress(FileNotFoundError):
            yield from (file for file in (path / folder).iterdir() if file.is_file())


def _key_of(file: Path) -> str:
    """Return the name without the flags that a mail reader adds (`:2,S`)."""
    return file.name.partition(":")[0]


def _read(file: Path) -> Mail | None:
    try:
        source = file.read_bytes()
    except FileNotFoundError:
        return None
    message = parse(source)
    return Mail(
        key=_key_of(file),
        date=_date(message),
        to=str(message["To"] or ""),
        subject=str(message["Subject"] or ""),
        text=_body(message, "plain"),
        html=_body(message, "html"),
        source=source,
    )


def _date(message: EmailMessage) -> datetime | None:
    try:
        return parsedate_to_datetime(str(message["Date"]))
    except ValueError:
        return None


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return "" if part is None else str(part.get_content()).replace("\r\n", "\n")
