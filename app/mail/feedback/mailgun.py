"""Mailgun's webhooks: the time and a token are signed with the account's key, the body is not."""

import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta

from app.domain.errors import Distrusted, Invalid
from app.domain.feedback import Happened, Report
from app.mail.feedback import judgements, readings
from app.mail.feedback.readings import Reading

PROVIDER = "mailgun"

MAX_AGE = timedelta(hours=9)
"""Mailgun tries again for 8 hours, and does not say that it signs anew when it does."""

MAX_AHEAD = timedelta(minutes=5)

_EVENTS = {
    "accepted": Happened.ACCEPTED,
    "delivered": Happened.DELIVERED,
    "complained": Happened.COMPLAINT,
    "unsubscribed": Happened.UNSUBSCRIBED,
    "rejected": Happened.REJECTED,
}
_SECONDS = re.compile(r"[0-9]{1,10}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,100}")
_WATCHED = {"opened", "clicked"}


def reports(body: bytes, key: bytes, now: datetime) -> list[Report]:
    """Return what the body tells, once its signature is proven.

    The token is the event's id. So a signature counts once, even under another body, and a
    delivery that is repeated is the same event. Raises Unreadable, Distrusted, or Invalid.
    """
    document = readings.document(body)
    token = _proven_token(document, key, now)
    event = document.part("event-data")
    name = event.needed("event")
    if name in _WATCHED:  # the token must be spent, but whom they watched is nobody's business
        return [Report(PROVIDER, token, Happened.UNKNOWN, now)]
    happened, detail = _failed(event) if name == "failed" else (_EVENTS.get(name), "")
    return [
        Report(
            provider=PROVIDER,
            event_id=token,
            kind=happened or Happened.UNKNOWN,
            at=event.moment("timestamp"),
            outbox_id=event.part("user-variables").our_number("outbox"),
            provider_id=event.part("message").part("headers").text("message-id") or None,
            recipient=event.text("recipient") or None,
            detail=detail or ("" if happened else event.word("event")),
        )
    ]


def _proven_token(document: Reading, key: bytes, now: datetime) -> str:
    try:
        signature = document.part("signature")
        seconds, token = signature.text("timestamp"), signature.text("token")
        given = signature.text("signature").encode()
    except Invalid as error:
        raise Distrusted("form") from error
    if not _SECONDS.fullmatch(seconds) or not _TOKEN.fullmatch(token):
        raise Distrusted("form")
    expected = hmac.new(key, (seconds + token).encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), given):
        raise Distrusted("signature")
    if not -MAX_AHEAD <= now - datetime.fromtimestamp(int(seconds), UTC) <= MAX_AGE:
        raise Distrusted("time")
    return token


def _failed(event: Reading) -> tuple[Happened, str]:
    status, reason = event.part("delivery-status"), event.word("reason")
    told = f"{status.text('code')} {status.raw('message')}"
    said = judgements.reply(told, status.text("enhanced-code"))
    if event.raw("severity") == "temporary":
        happened = Happened.DEFERRED  # it will be tried again
    elif reason.startswith("suppress-"):
        happened = Happened.REJECTED
    elif reason == "old":
        happened = judgements.given_up(said)
    else:
        happened = judgements.permanent(said)
    return happened, " ".join(filter(None, (reason, str(said))))
