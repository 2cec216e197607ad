"""HTTP to a provider of mail: one request, and what a status, Retry-After or silence means."""

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from app.domain.retry import Outcome, Verdict
from app.mail.message import Message

LONGEST_WAIT = timedelta(hours=1)
"""Whatever a provider asks for: it may have erred, and a probe costs one message."""

_TIMEOUT = httpx.Timeout(connect=10.0, write=60.0, read=120.0, pool=None)
"""Seconds; a shorter wait for the answer makes second copies."""

_WHOLE_SECONDS = 240.0
"""For a request and its answer, however slowly that comes."""

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_WAIT = {408, 425, 429}
_CONTENT = {400, 413, 422}
_ADDRESS = re.compile(r"[^\s\x00-\x20\x7f-\x9f<>\"(),:;@\[\\\]]+@[A-Za-z0-9.-]+")
_IDENTIFIER = re.compile(r"[!-~]{1,255}")
_SECONDS = re.compile(r"[0-9]{1,9}")

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider said: `body` is its JSON, or None if it sent something else."""

    status: int
    headers: httpx.Headers
    body: object
    at: datetime

    def member(self, *names: str) -> object:
        """Return the first of these members that the body has."""
        body = self.body if isinstance(self.body, dict) else {}
        return next((body[name] for name in names if name in body), None)

    def verdict(
        self,
        outcome: Outcome,
        code: object = "",
        provider_id: object = None,
        wait: timedelta | None = None,
    ) -> Verdict:
        """Return a verdict; `wait` is how long to, where the answer itself has no Retry-After."""
        detail = f"{self.status} {code}".rstrip()
        if outcome is not Outcome.RETRY_TRANSPORT:
            return Verdict(outcome, detail, _identifier(provider_id))
        told = retry_after(self.headers.get("Retry-After"), self.at)
        return Verdict(outcome, detail, retry_after=told or wait)


class Calls:
    """A few connections to one provider; certificates are verified, redirects not followed."""

    def __init__(
        self, connections: int, transport: httpx.AsyncBaseTransport | None, clock: Clock
    ) -> None:
        """Connect to nobody yet; `transport` takes the place of the network."""
        self.clock = clock
        self._client = httpx.AsyncClient(
            transport=transport,
            timeout=_TIMEOUT,
            limits=httpx.Limits(max_connections=connections),
            follow_redirects=False,
        )

    async def send(self, request: httpx.Request) -> Answer | Verdict:
        """Send one request; a verdict if no answer came, of every message in the request."""
        try:
            async with asyncio.timeout(_WHOLE_SECONDS):
                response = await self._client.send(request)
        except (httpx.RequestError, OSError) as error:
            return Verdict(_silence(error), type(error).__name__)
        return Answer(response.status_code, response.headers, _json(response), self.clock())

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def outcome_of(status: int) -> Outcome:
    """Judge a status of which the provider's documentation says no more than HTTP does.

    A success that says nothing we understand may be one. What is refused for its content
    concerns one message; any other refusal concerns all of them, and is ours to mend.
    """
    if httpx.codes.is_success(status):
        return Outcome.UNKNOWN
    if status in _CONTENT:
        return Outcome.BAD_MESSAGE
    if status in _WAIT or not httpx.codes.is_client_error(status):
        return Outcome.RETRY_TRANSPORT
    return Outcome.SENDER_FAULT


def refused_unread(message: Message) -> Verdict | None:
    """Refuse a recipient that a provider could read as two, or as something with a name."""
    if _ADDRESS.fullmatch(message.recipient):
        return None
    return Verdict(Outcome.BAD_MESSAGE, "UnsafeMessage")


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Read Retry-After, seconds or a date (RFC 9110 10.2.3); None for nonsense and the past."""
    if value is None:
        return None
    if _SECONDS.fullmatch(value):
        return bounded(timedelta(seconds=int(value)))
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    return bounded((at if at.tzinfo else at.replace(tzinfo=UTC)) - now)


def bounded(wait: timedelta) -> timedelta | None:
    """Return a wait of more than nothing and at most an hour."""
    return min(wait, LONGEST_WAIT) if wait > timedelta() else None


def _silence(error: Exception) -> Outcome:
    """Judge a request without an answer; once it may have left, nobody knows."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Outcome.SENDER_FAULT  # as with SMTP: it does not mend itself
        cause = cause.__cause__ or cause.__context__
    return Outcome.RETRY_TRANSPORT if isinstance(error, _UNSENT) else Outcome.UNKNOWN


def _json(response: httpx.Response) -> object:
    try:
        body: object = response.json()
    except (ValueError, RecursionError):
        return None
    return body


def _identifier(value: object) -> str | None:
    """Return what a provider calls a message, if the database can keep it."""
    return value if isinstance(value, str) and _IDENTIFIER.fullmatch(value) else None
