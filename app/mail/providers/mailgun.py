"""Mailgun through its HTTP API: one message in a request.

The mail goes as it is, to `messages.mime`, so our headers are kept, Message-ID too. One such mail
can have many recipients, but it differs for each only through Mailgun's own placeholders, so there
are no batches. Our number of the message comes back in events as the variable `outbox`. Opens and
clicks are not tracked; leave unsubscribe tracking off in the domain's settings, for it adds a
List-Unsubscribe of Mailgun's. Mailgun handles bounces itself: its own envelope sender takes the
place of ours.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import SplitResult

import httpx

from app.domain.retry import Outcome, Verdict
from app.mail.message import Message
from app.mail.providers import urls
from app.mail.providers.calls import (
    Answer,
    Calls,
    Clock,
    bounded,
    outcome_of,
    refused_unread,
    retry_after,
    utc_now,
)

QUOTA_EXCEEDED = 420
"""Not in the registry of HTTP: what some get where the documentation says 429."""

_HOSTS = {"us": "api.mailgun.net", "eu": "api.eu.mailgun.net"}
_DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]*[a-z0-9]")
_NOT_ALLOWED = "is not allowed to send"
"""An unverified domain, a sandbox, an account that is not activated: a 400 as for a bad mail."""

_UNTIL = re.compile(r"try again after (\w{3}, [\w: ]{1,30})")
_EPOCH = re.compile(r"[0-9]{1,13}")
_FIRST_MILLISECONDS = 10**11
"""A number of seconds above this is in the year 5138: then it counts milliseconds."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whose key, for which sending domain, and the host of its region."""

    key: str = field(repr=False)
    domain: str
    host: str


def account(parts: SplitResult) -> Account:
    """Read `mailgun://KEY@domain`, with `?region=eu` for a domain that was made there."""
    key = urls.credential(parts.username, "key before the @")
    region = urls.parameter(parts, "region") or "us"
    if parts.password is not None:
        raise ValueError("The mail URL for Mailgun is mailgun://KEY@domain, without a colon.")
    if not _DOMAIN.fullmatch(parts.hostname or "") or parts.port is not None:
        raise ValueError("After the @ the mail URL needs the domain that Mailgun sends for.")
    if region not in _HOSTS:
        raise ValueError("Mailgun has the regions us and eu.")
    return Account(key, parts.hostname or "", _HOSTS[region])


class MailgunTransport:
    """One sending domain at Mailgun, and at most `connections` requests at once."""

    name = "mailgun"

    def __init__(
        self,
        account: Account,
        connections: int,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock = utc_now,
    ) -> None:
        """Connect to nobody yet; `transport` takes the place of the network."""
        self.connections = connections
        self.account = account
        self._auth = httpx.BasicAuth("api", account.key)
        self._calls = Calls(connections, transport, clock)

    async def send(self, message: Message) -> Verdict:
        """Send one message; every trouble becomes a verdict."""
        if refusal := refused_unread(message):
            return refusal
        answer = await self._calls.send(self._request(message))
        return _judge(answer) if isinstance(answer, Answer) else answer

    async def close(self) -> None:
        """Close the connections."""
        await self._calls.close()

    def _request(self, message: Message) -> httpx.Request:
        request = httpx.Request(
            "POST",
            f"https://{self.account.host}/v3/{self.account.domain}/messages.mime",
            data={"to": message.recipient, "o:tracking": "no", "v:outbox": str(message.id)},
            files={"message": ("message.mime", message.content, "message/rfc822")},
        )
        return next(self._auth.auth_flow(request))


def _judge(answer: Answer) -> Verdict:
    message_id, text = answer.member("id"), str(answer.member("message"))
    if httpx.codes.is_success(answer.status) and isinstance(message_id, str):
        return answer.verdict(Outcome.SENT, provider_id=message_id.strip("<>"))
    if answer.status == QUOTA_EXCEEDED:
        outcome = Outcome.RETRY_TRANSPORT
    elif answer.status == httpx.codes.BAD_REQUEST and _NOT_ALLOWED in text:
        outcome = Outcome.SENDER_FAULT
    else:
        outcome = outcome_of(answer.status)
    return answer.verdict(outcome, wait=_until(text, answer.at) or _reset(answer))


def _until(text: str, now: datetime) -> timedelta | None:
    found = _UNTIL.search(text)
    return retry_after(found[1].strip(), now) if found else None


def _reset(answer: Answer) -> timedelta | None:
    """Read X-RateLimit-Reset, a time since the epoch."""
    value = answer.headers.get("X-RateLimit-Reset", "")
    if not _EPOCH.fullmatch(value):
        return None
    number = int(value)
    seconds = number / 1000 if number >= _FIRST_MILLISECONDS else number
    return bounded(datetime.fromtimestamp(seconds, UTC) - answer.at)
