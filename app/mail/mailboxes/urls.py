"""The URL that says which mailbox to read."""

import contextlib
import re
import ssl
from contextlib import AbstractContextManager
from urllib.parse import SplitResult, unquote

from app.mail import urls
from app.mail.connections import Tls
from app.mail.mailboxes.imap import Account, open_imap
from app.mail.mailboxes.maildir import MaildirMailbox
from app.mail.mailboxes.unread import Mailbox

_PORTS = {Tls.NONE: 143, Tls.STARTTLS: 143, Tls.IMPLICIT: 993}
_MAILBOX_NAME = re.compile(r"[ -~]{1,200}")
_CREDENTIAL = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,1000}")


def open_mailbox(
    url: str, context: ssl.SSLContext | None = None
) -> AbstractContextManager[Mailbox]:
    """Return the mailbox for `maildir:PATH`, `imaps://...` or `imap://...`, to be entered.

    `imap://` asks for STARTTLS unless the host is loopback; `context` replaces the system's
    certificates. Raises ValueError with a sentence that does not repeat the URL.
    """
    scheme = url.partition(":")[0].lower()
    if scheme == "maildir":
        return contextlib.nullcontext(MaildirMailbox(urls.maildir_path(url)))
    if scheme in {"imap", "imaps"}:
        return open_imap(_account(urls.split(url, "mailbox")), context)
    raise ValueError("The mailbox URL must begin with maildir:, imaps:// or imap://.")


def _account(parts: SplitResult) -> Account:
    host = urls.host(parts, "mailbox")
    if parts.query or parts.fragment:
        raise ValueError("The mailbox URL takes no parameters.")
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not (_CREDENTIAL.fullmatch(username) and _CREDENTIAL.fullmatch(password)):
        raise ValueError("The mailbox URL needs a user name and a password.")
    mailbox = unquote(parts.path.removeprefix("/")) or "INBOX"
    if not _MAILBOX_NAME.fullmatch(mailbox):
        raise ValueError("Write the name of the mailbox in ASCII, as modified UTF-7 (RFC 3501).")
    tls = _tls(parts.scheme.lower(), host)
    return Account(host, parts.port or _PORTS[tls], tls, username, password, mailbox)


def _tls(scheme: str, host: str) -> Tls:
    if scheme == "imaps":
        return Tls.IMPLICIT
    return Tls.NONE if urls.is_loopback(host) else Tls.STARTTLS
