"""A mailbox on an IMAP server (RFC 9051): read mail is flagged as seen."""

import contextlib
import re
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from imaplib import IMAP4, IMAP4_SSL
from typing import Any

import structlog

from app.mail.connections import Tls
from app.mail.mailboxes.unread import OCTETS, MailboxUnusable, Unread

SECONDS = 60.0
"""How long to wait for the server's next word."""

_EMPTY = re.compile(rb'BODY\[\]<0> ""')
"""A mail without content; NIL means that it is not there any more (RFC 9051 nstring)."""

_WINDOW = 50_000
"""So many identifiers are searched at once: the standard library takes no line above 1 MB."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Account:
    """Where a mailbox is and who may read it; certificates are always verified."""

    host: str
    port: int
    tls: Tls
    username: str
    password: str = field(repr=False)
    mailbox: str = "INBOX"


@dataclass(frozen=True, slots=True)
class ImapMailbox:
    """An open mailbox; `last` is the highest identifier that a mail in it can have."""

    client: IMAP4
    last: int

    def unread(self) -> Iterator[Unread]:
        """Read mail that is not flagged as seen."""
        for start in range(1, self.last + 1, _WINDOW):
            for uid in self._search(f"{start}:{min(start + _WINDOW - 1, self.last)}"):
                content = self._fetch(uid)
                if content is not None:
                    yield Unread(uid, content)

    def mark(self, keys: Sequence[str]) -> None:
        """Flag mail as seen."""
        if keys:
            with _told():
                self._command("STORE", ",".join(keys), "+FLAGS.SILENT", r"(\Seen)")

    def _search(self, uids: str) -> list[str]:
        with _told():
            found = self._command("SEARCH", "UID", uids, "UNSEEN")
        return [uid for line in found if line for uid in line.decode("ascii").split()]

    def _fetch(self, uid: str) -> bytes | None:
        """Return the beginning of a mail; None if it has gone meanwhile, or is not given.

        What the server cannot read must not keep it from being asked for the others.
        """
        with _told():
            # PEEK: whatever happens before the mark, the mail stays unread.
            status, answer = self.client.uid("FETCH", uid, f"(BODY.PEEK[]<0.{OCTETS}>)")
        if status != "OK":
            log.warning("mail_unreadable", error=status)
            return None
        bodies = (part[1] for part in answer if isinstance(part, tuple) and b"BODY[" in part[0])
        is_empty = any(isinstance(part, bytes) and _EMPTY.search(part) for part in answer)
        return next(bodies, b"" if is_empty else None)

    def _command(self, name: str, *arguments: str) -> list[Any]:
        status, answer = self.client.uid(name, *arguments)
        if status != "OK":
            raise MailboxUnusable(f"The IMAP server refuses the command {name}.")
        return answer


@contextlib.contextmanager
def open_imap(account: Account, context: ssl.SSLContext | None = None) -> Iterator[ImapMailbox]:
    """Have a mailbox open while inside; `context` replaces the system's certificates.

    Raises MailboxUnusable.
    """
    with _told():
        client = _connect(account, context or ssl.create_default_context())
    try:
        with _told():
            _log_in(client, account)
            opened = ImapMailbox(client, _select(client, account.mailbox))
        yield opened
    finally:
        _leave(client)


def _connect(account: Account, context: ssl.SSLContext) -> IMAP4:
    host, port = account.host, account.port
    if account.tls is Tls.IMPLICIT:
        return IMAP4_SSL(host, port, ssl_context=context, timeout=SECONDS)
    client = IMAP4(host, port, timeout=SECONDS)
    if account.tls is Tls.STARTTLS:
        try:
            _start_tls(client, context)
        except BaseException:
            _hang_up(client)
            raise
    return client


def _start_tls(client: IMAP4, context: ssl.SSLContext) -> None:
    if "STARTTLS" not in client.capabilities:
        raise MailboxUnusable("The IMAP server offers no STARTTLS, and nothing is sent in clear.")
    client.starttls(context)


def _log_in(client: IMAP4, account: Account) -> None:
    """Log in by PLAIN (RFC 4616), which knows all characters, or by LOGIN if it is not offered."""
    username, password = account.username, account.password
    try:
        if "AUTH=PLAIN" in client.capabilities:
            client.authenticate("PLAIN", lambda _: f"\0{username}\0{password}".encode())
        elif (username + password).isascii():
            client.login(username, password)
        else:
            raise MailboxUnusable("The IMAP server takes only ASCII in a user name and password.")
    except IMAP4.abort:
        raise
    except IMAP4.error:
        raise MailboxUnusable("The IMAP server refuses the user name and password.") from None


def _select(client: IMAP4, mailbox: str) -> int:
    quoted = mailbox.replace("\\", "\\\\").replace('"', '\\"')
    status, _ = client.select(f'"{quoted}"')
    if status != "OK":
        raise MailboxUnusable("The IMAP server has no such mailbox for this user.")
    _, answer = client.response("UIDNEXT")
    following = answer[-1] if answer else None
    if not isinstance(following, bytes) or not following.isdigit():
        raise MailboxUnusable("The IMAP server does not tell what a mailbox must tell (UIDNEXT).")
    return int(following) - 1


def _leave(client: IMAP4) -> None:
    try:
        with contextlib.suppress(IMAP4.error, OSError):
            client.logout()
    finally:
        _hang_up(client)


def _hang_up(client: IMAP4) -> None:
    with contextlib.suppress(OSError):
        client.shutdown()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what goes wrong into a sentence; the server's own may repeat what it was sent."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise MailboxUnusable("The certificate of the IMAP server is not valid.") from error
    except IMAP4.readonly:
        raise MailboxUnusable("This user may read the mailbox, but not mark mail in it.") from None
    except IMAP4.error:
        raise MailboxUnusable("The IMAP server closes the connection or speaks no IMAP.") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise MailboxUnusable(f"The IMAP server cannot be reached: {reason}.") from error
