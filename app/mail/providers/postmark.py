"""Postmark through its HTTP API: up to 100 messages in a request, each with its own answer.

Postmark takes no finished mail, so what was composed is read back and told as JSON. It signs and
dates the mail itself; Message-ID stays ours (`X-PM-KeepID`). A stream for broadcasts needs
`UnsubscribeHandlingType` set to `Custom`, or Postmark puts its own List-Unsubscribe in the place
of ours. Our number of the message comes back in events as the metadata `outbox`. Postmark handles
bounces itself: its own envelope sender takes the place of ours.
"""

import json
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from urllib.parse import SplitResult

import httpx

from app.domain.retry import Outcome, Verdict
from app.mail.message import Message, parse
from app.mail.providers import urls
from app.mail.providers.batches import Batches
from app.mail.providers.calls import Answer, Calls, Clock, outcome_of, refused_unread, utc_now

BATCH = 100
"""Postmark takes 500; a worker never has more than 100 on the wire."""

_URL = "https://api.postmarkapp.com/email/batch"
_STREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")

_CODES = {
    10: Outcome.SENDER_FAULT,  # bad or missing API token
    100: Outcome.RETRY_TRANSPORT,  # maintenance
    300: Outcome.BAD_MESSAGE,  # invalid email request
    400: Outcome.SENDER_FAULT,  # sender signature not found
    401: Outcome.SENDER_FAULT,  # sender signature not confirmed
    405: Outcome.SENDER_FAULT,  # not allowed to send: out of credits
    406: Outcome.REFUSED,  # inactive recipient: hard bounce, complaint or suppression
    412: Outcome.SENDER_FAULT,  # account is pending
    413: Outcome.SENDER_FAULT,  # account may not send
    429: Outcome.RETRY_TRANSPORT,  # rate limit exceeded
    1235: Outcome.SENDER_FAULT,  # this server has no such stream
}
"""By ErrorCode; one that is not here means what the status means."""

_UNPROCESSABLE = 422
_ABOUT_ONE = {Outcome.BAD_MESSAGE, Outcome.REFUSED}
"""The status that a refused item of an accepted batch has."""

_TOLD_OTHERWISE = {"from", "to", "subject", "reply-to", "date", "mime-version", "dkim-signature"}
_BODIES = {"text/plain": "TextBody", "text/html": "HtmlBody"}

Item = dict[str, object]


@dataclass(frozen=True, slots=True)
class Account:
    """A server's token, and the stream that its mail takes."""

    token: str = field(repr=False)
    stream: str


def account(parts: SplitResult) -> Account:
    """Read `postmark://TOKEN`, with `?stream=` for another stream than `outbound`."""
    if "@" in parts.netloc or parts.port is not None:
        raise ValueError("The mail URL for Postmark is postmark://TOKEN, with nothing beside it.")
    token = urls.credential(parts.netloc, "token")
    stream = urls.parameter(parts, "stream") or "outbound"
    if not _STREAM.fullmatch(stream):
        raise ValueError("A stream is named by letters, digits, hyphens and underscores.")
    return Account(token, stream)


class PostmarkTransport:
    """One server at Postmark, and at most `connections` requests at once."""

    name = "postmark"
    connections = BATCH

    def __init__(
        self,
        account: Account,
        connections: int,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock = utc_now,
    ) -> None:
        """Connect to nobody yet; `transport` takes the place of the network."""
        self.account = account
        self._calls = Calls(connections, transport, clock)
        self._batches = Batches(self._deliver, BATCH, connections)

    async def send(self, message: Message) -> Verdict:
        """Send one message; every trouble becomes a verdict."""
        if refusal := refused_unread(message):
            return refusal
        try:
            item = _item(message, self.account.stream)
        except (ValueError, LookupError) as error:
            return Verdict(Outcome.BAD_MESSAGE, type(error).__name__)
        return await self._batches.send(item)

    async def close(self) -> None:
        """Close the connections; requests under way are given up."""
        await self._batches.close()
        await self._calls.close()

    async def _deliver(self, items: Sequence[Item]) -> AsyncIterator[Verdict]:
        """Send a batch; if it is refused whole for what is in it, only the bad one shall fail."""
        answer = await self._calls.send(self._request(items))
        verdicts = _verdicts(answer, len(items))
        is_whole = isinstance(answer, Answer) and not httpx.codes.is_success(answer.status)
        if is_whole and len(items) > 1 and verdicts[0].outcome in _ABOUT_ONE:
            async for verdict in self._one_by_one(items):
                yield verdict
        else:
            for verdict in verdicts:
                yield verdict

    async def _one_by_one(self, items: Sequence[Item]) -> AsyncIterator[Verdict]:
        """Send each for itself, until an answer is about all of them."""
        for index, item in enumerate(items):
            [verdict] = _verdicts(await self._calls.send(self._request([item])), 1)
            yield verdict
            if verdict.outcome in {Outcome.RETRY_TRANSPORT, Outcome.SENDER_FAULT}:
                for _ in items[index + 1 :]:
                    yield verdict
                return

    def _request(self, items: Sequence[Item]) -> httpx.Request:
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "X-Postmark-Server-Token": self.account.token,
        }
        return httpx.Request("POST", _URL, headers=headers, content=json.dumps(items).encode())


def _verdicts(answer: Answer | Verdict, count: int) -> list[Verdict]:
    if isinstance(answer, Verdict):
        return [answer] * count
    if httpx.codes.is_success(answer.status):
        return _judge(answer, count)
    return [_judge_one(answer, answer.body)] * count


def _item(message: Message, stream: str) -> Item:
    """Return the mail as Postmark wants it told; raises ValueError if it cannot be told so."""
    mail = parse(message.content)
    author, reply_to = mail["From"], mail["Reply-To"]
    if author is None or len(author.addresses) != 1:
        raise ValueError("A mail needs one author.")
    return {
        "From": str(author.addresses[0]),
        "To": message.recipient,
        "Subject": str(mail["Subject"] or ""),
        **({"ReplyTo": str(reply_to)} if reply_to else {}),
        **_bodies(mail),
        "Headers": list(_headers(mail)),
        "Metadata": {"outbox": str(message.id)},
        "MessageStream": stream,
        "TrackOpens": False,
        "TrackLinks": "None",
    }


def _bodies(mail: EmailMessage) -> dict[str, str]:
    """Return text and HTML; a mail that has more in it would arrive with less."""
    parts = [part for part in mail.walk() if not part.is_multipart()]
    bodies = {_BODIES[part.get_content_type()]: _text(part) for part in parts}
    if len(bodies) != len(parts):
        raise ValueError("Two bodies of one kind.")
    return bodies


def _text(part: object) -> str:
    if not isinstance(part, EmailMessage) or part.is_attachment():
        raise ValueError("Not a body.")
    return str(part.get_content()).replace("\r\n", "\n")


def _headers(mail: EmailMessage) -> Iterable[dict[str, str]]:
    for name, value in mail.items():
        if name.lower() not in _TOLD_OTHERWISE and not name.lower().startswith("content-"):
            yield {"Name": name, "Value": str(value)}
    if "Message-ID" in mail:
        yield {"Name": "X-PM-KeepID", "Value": "true"}


def _judge(answer: Answer, count: int) -> list[Verdict]:
    """Return the verdicts on a batch that was taken: one answer for each, in the same order."""
    told = answer.body
    if not isinstance(told, list) or len(told) != count:
        return [answer.verdict(Outcome.UNKNOWN)] * count
    return [_judge_one(answer, item) for item in told]


def _judge_one(answer: Answer, told: object) -> Verdict:
    """Judge what was said of one message, or of a whole batch that was not taken."""
    item = told if isinstance(told, dict) else {}
    code, accepted = item.get("ErrorCode"), httpx.codes.is_success(answer.status)
    if type(code) is not int:
        return answer.verdict(outcome_of(answer.status))
    if code == 0 and accepted:
        return answer.verdict(Outcome.SENT, code, item.get("MessageID"))
    unlisted = outcome_of(_UNPROCESSABLE if accepted else answer.status)
    return answer.verdict(_CODES.get(code, unlisted), code)
