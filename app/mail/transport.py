"""How mail leaves: one method, and the URL that picks who does it."""

from typing import Protocol, runtime_checkable
from urllib.parse import SplitResult, parse_qsl, unquote

from app.domain.retry import Verdict
from app.mail import urls
from app.mail.connections import Server, Tls
from app.mail.maildir import MaildirTransport
from app.mail.message import Message
from app.mail.providers import mailgun, postmark, ses
from app.mail.providers.mailgun import MailgunTransport
from app.mail.providers.postmark import PostmarkTransport
from app.mail.providers.ses import SesTransport
from app.mail.runs import Mails
from app.mail.smtp import SmtpTransport

SCHEMES = ("maildir:", "smtp://", "smtps://", "postmark://", "ses://", "mailgun://")

_PORTS = {Tls.NONE: 25, Tls.STARTTLS: 587, Tls.IMPLICIT: 465}


class Transport(Protocol):
    """Anything that can send a message; `connections` is how many sends at once it profits from."""

    name: str
    connections: int

    async def send(self, message: Message) -> Verdict:
        """Send one message and say what became of it; trouble with delivery is never raised."""
        ...

    async def close(self) -> None:
        """Give back what is held open."""
        ...


@runtime_checkable
class Carrier(Protocol):
    """A transport that can do better than to send each message for itself."""

    async def carry(self, mails: Mails) -> None:
        """Send messages until there are no more; trouble with delivery is never raised."""
        ...


def open_transport(url: str, connections: int) -> Transport:
    """Return the transport for a URL: a Maildir, an SMTP server or the API of a provider.

    `smtp://` asks for STARTTLS unless the host is loopback; `?starttls=yes` or `no` decides
    otherwise. Raises ValueError with a sentence that does not repeat the URL.
    """
    if connections < 1:
        raise ValueError("A mail transport needs at least one connection.")
    match url.partition(":")[0].lower():
        case "maildir":
            return MaildirTransport(urls.maildir_path(url), connections)
        case "smtp" | "smtps":
            return SmtpTransport(_server(_split(url)), connections)
        case "postmark":
            return PostmarkTransport(postmark.account(_split(url)), connections)
        case "ses":
            return SesTransport(ses.account(_split(url)), connections)
        case "mailgun":
            return MailgunTransport(mailgun.account(_split(url)), connections)
    raise ValueError(f"The mail URL must begin with {', '.join(SCHEMES[:-1])} or {SCHEMES[-1]}.")


def _split(url: str) -> SplitResult:
    parts = urls.split(url, "mail")
    if parts.path.strip("/") or parts.fragment:
        message = (
            "After its host the mail URL can have ?name=value and nothing else; percent-encode "
            "/ ? and # in secrets."
        )
        raise ValueError(message)
    return parts


def _server(parts: SplitResult) -> Server:
    host = urls.host(parts, "mail")
    tls = _tls(parts, host)
    if (parts.username is None) != (parts.password is None):
        raise ValueError("The mail URL needs both a user name and a password, or neither.")
    if parts.username is not None and tls is Tls.NONE and not urls.is_loopback(host):
        raise ValueError("The mail URL would send a password unencrypted; remove starttls=no.")
    username, password = (v and unquote(v) for v in (parts.username, parts.password))
    return Server(host, parts.port or _PORTS[tls], tls, username, password)


def _tls(parts: SplitResult, host: str) -> Tls:
    choice = _starttls(parts.query)
    if parts.scheme.lower() == "smtps":
        if choice is not None:
            raise ValueError("smtps:// is encrypted from the start and takes no starttls=.")
        return Tls.IMPLICIT
    return Tls.STARTTLS if choice or (choice is None and not urls.is_loopback(host)) else Tls.NONE


def _starttls(query: str) -> bool | None:
    """Return what the query asks for, None if it is empty."""
    parameters = parse_qsl(query, keep_blank_values=True)
    match parameters:
        case []:
            return None
        case [("starttls", ("yes" | "no") as value)]:
            return value == "yes"
        case _:
            raise ValueError("The mail URL knows one parameter: starttls=yes or starttls=no.")
