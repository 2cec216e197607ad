"""Amazon SES through its HTTP API, version 2: one message in a request.

The mail goes as it is, in `Content.Raw`, and SES changes two of its headers: Message-ID and Date
become its own. Its bulk call takes templates only, so there are no batches. Our number of the
message comes back in events as the tag `outbox`, if the identity has a default configuration set.
SES handles bounces itself: its own envelope sender takes the place of ours.
"""

import json
import re
from base64 import b64encode
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import SplitResult

import httpx

from app.domain.retry import Outcome, Verdict
from app.mail.message import Message
from app.mail.providers import sigv4, urls
from app.mail.providers.calls import Answer, Calls, Clock, outcome_of, refused_unread, utc_now

_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")
_NAME = re.compile(r"[A-Za-z]{1,80}")

_ERRORS = {
    "AccountSuspendedException": Outcome.SENDER_FAULT,
    "SendingPausedException": Outcome.SENDER_FAULT,
    "MailFromDomainNotVerifiedException": Outcome.SENDER_FAULT,
    "NotFoundException": Outcome.SENDER_FAULT,
    "AccessDeniedException": Outcome.SENDER_FAULT,
    "ExpiredTokenException": Outcome.SENDER_FAULT,
    "IncompleteSignatureException": Outcome.SENDER_FAULT,
    "InvalidSignatureException": Outcome.SENDER_FAULT,
    "UnrecognizedClientException": Outcome.SENDER_FAULT,
    "RequestExpired": Outcome.SENDER_FAULT,
    "TooManyRequestsException": Outcome.RETRY_TRANSPORT,
    "ThrottlingException": Outcome.RETRY_TRANSPORT,
    "Throttling": Outcome.RETRY_TRANSPORT,
    "LimitExceededException": Outcome.RETRY_TRANSPORT,
    "MessageRejected": Outcome.BAD_MESSAGE,
    "BadRequestException": Outcome.BAD_MESSAGE,
}
"""The errors of SendEmail, and of those common to all calls the ones with status 400 or 403."""

_OUR_FAULTS = (
    "email address is not verified",
    "account is paused",
    "sending paused",
    "sending suspended",
)
"""MessageRejected also speaks of the sender, and in the sandbox of any recipient."""

_WAITS = {
    "maximum sending rate exceeded": timedelta(seconds=1),
    "daily message quota exceeded": timedelta(minutes=10),
}
"""The rate is counted by the second; the quota over the last 24 hours, so some of it comes back."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who sends, and in which region."""

    credentials: sigv4.Credentials
    region: str


def account(parts: SplitResult) -> Account:
    """Read `ses://KEY:SECRET@eu-west-1`, with `?session_token=` for a temporary key."""
    key = urls.credential(parts.username, "access key")
    secret = urls.credential(parts.password, "secret key")
    token = urls.parameter(parts, "session_token")
    if not _REGION.fullmatch(parts.hostname or "") or parts.port is not None:
        raise ValueError("After the @ the mail URL needs a region such as eu-west-1.")
    token = token and urls.credential(token, "session token")
    return Account(sigv4.Credentials(key, secret, token), parts.hostname or "")


class SesTransport:
    """One SES account in one region, and at most `connections` requests at once."""

    name = "ses"

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
        body = {
            "Content": {"Raw": {"Data": b64encode(message.content).decode("ascii")}},
            "Destination": {"ToAddresses": [message.recipient]},
            "EmailTags": [{"Name": "outbox", "Value": str(message.id)}],
        }
        call = sigv4.Call(
            "POST",
            f"https://email.{self.account.region}.amazonaws.com/v2/email/outbound-emails",
            {"Content-Type": "application/json"},
            json.dumps(body).encode(),
        )
        place = sigv4.Place(self.account.region, "ses")
        headers = sigv4.sign(call, self.account.credentials, place, self._calls.clock())
        return httpx.Request(call.method, call.url, headers=headers, content=call.body)


def _judge(answer: Answer) -> Verdict:
    message_id = answer.member("MessageId")
    if httpx.codes.is_success(answer.status) and isinstance(message_id, str):
        return answer.verdict(Outcome.SENT, provider_id=message_id)
    error, text = _error(answer), str(answer.member("message", "Message")).lower()
    outcome = _ERRORS.get(error, outcome_of(answer.status))
    if error == "MessageRejected" and text.startswith(_OUR_FAULTS):
        outcome = Outcome.SENDER_FAULT
    wait = next((wait for start, wait in _WAITS.items() if text.startswith(start)), None)
    return answer.verdict(outcome, error, wait=wait)


def _error(answer: Answer) -> str:
    """Return the name of the error, from the header `Name:URL` or the body's `namespace#Name`."""
    named = answer.headers.get("x-amzn-ErrorType") or str(answer.member("__type", "code") or "")
    found = _NAME.fullmatch(named.partition(":")[0].rpartition("#")[2])
    return found[0] if found else ""
