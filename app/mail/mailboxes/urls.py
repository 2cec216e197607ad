"""The URL that says which mailbox to read."""

import contextlib
import ipaddress
import re
import ssl
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from app.mail.connections import Tls
from app.mail.mailboxes.imap import Account, open_imap
from app.mail.mailboxes.maildir import MaildirMailbox
from app.mail.mailboxes.unread import Mailbox

_PORTS = {Tls.NONE: 143, Tls.STARTTLS: 143, Tls.IMPLICIT: 993}
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+")
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
        return contextlib.nullcontext(MaildirMailbox(_path(url.partition(":")[2])))
    if scheme in {"imap", "imaps"}:
        return open_imap(_account(_split(url)), context)
    raise ValueError("The mailbox URL must begin with maildir:, imaps:// or imap://.")


def _path(rest: str) -> Path:
    if "?" in rest or "#" in rest:
        raise ValueError("A maildir: URL takes no parameters.")
    if rest.startswith("//") and not rest.startswith("///"):
        raise ValueError("Write maildir:///absolute/path or maildir:relative/path.")
    path = unquote(rest.removeprefix("//"))
    if not path.strip("/") or "\0" in path:
        raise ValueError("The maildir: URL has no path.")
    return Path(path)


def _split(url: str) -> SplitResult:
    """Split a URL; the standard library's own errors may repeat a part of the password."""
    try:
        parts = urlsplit(url)
        _ = parts.port, parts.hostname
    except ValueError:
        message = (
            "The host or port of the mailbox URL is not valid; percent-encode / ? # [ ] @ and : "
            "in the user name and password."
        )
        raise ValueError(message) from None
    if parts.query or parts.fragment:
        raise ValueError("The mailbox URL takes no parameters.")
    return parts


def _account(parts: SplitResult) -> Account:
    host = parts.hostname or ""
    if not _HOST.fullmatch(host) or parts.port == 0:
        raise ValueError("The mailbox URL needs a host name or IP address, and a port above 0.")
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
    return Tls.NONE if _is_loopback(host) else Tls.STARTTLS


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
