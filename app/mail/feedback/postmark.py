"""Postmark's webhooks. They are not signed: who calls is proven by the key in the URL."""

import hashlib
from datetime import datetime

from app.domain.feedback import Happened, Report
from app.mail.feedback import judgements, readings
from app.mail.feedback.judgements import Reply
from app.mail.feedback.readings import Reading

PROVIDER = "postmark"

_TYPES = {
    "Transient": Happened.DEFERRED,
    "DnsError": Happened.SOFT_BOUNCE,
    "Unsubscribe": Happened.UNSUBSCRIBED,
    "SpamComplaint": Happened.COMPLAINT,
    "SpamNotification": Happened.FAILED,
    "VirusNotification": Happened.FAILED,
    "Blocked": Happened.FAILED,
    "DMARCPolicy": Happened.FAILED,
    "OpenRelayTest": Happened.FAILED,
    "ManuallyDeactivated": Happened.REJECTED,
    "Unconfirmed": Happened.REJECTED,
    "SMTPApiError": Happened.REJECTED,
    "TemplateRenderingFailed": Happened.REJECTED,
}
_NO_MAILBOX = {"HardBounce", "BadEmailAddress"}
_SUPPRESSED_FOR = {
    "HardBounce": Happened.REJECTED,  # why is told by the bounce itself
    "SpamComplaint": Happened.COMPLAINT,
    "ManualSuppression": Happened.UNSUBSCRIBED,
}


def reports(body: bytes, now: datetime) -> list[Report]:
    """Return what the body tells; opens and clicks are nobody's business and are not kept.

    Raises Unreadable, or Invalid.
    """
    event = readings.document(body)
    record = event.needed("RecordType")
    match record:
        case "Delivery":
            event_id = f"Delivery/{event.needed('MessageID')}"
            return [_report(event, event_id, Happened.DELIVERED, "DeliveredAt", "Recipient")]
        case "Bounce" | "SpamComplaint":
            return [_bounce(event, f"{record}/{event.needed('ID')}")]
        case "SubscriptionChange":
            return [_change(event)]
        case "Open" | "Click":
            return []
        case _:
            event_id = f"unknown/{hashlib.sha256(body).hexdigest()}"
            detail = event.word("RecordType")
            return [Report(PROVIDER, event_id, Happened.UNKNOWN, now, detail=detail)]


def _bounce(event: Reading, event_id: str) -> Report:
    kind, said = event.needed("Type"), judgements.reply(event.raw("Details"))
    if kind in _NO_MAILBOX:
        happened = judgements.permanent(said, no_mailbox=True)
    elif kind == "SoftBounce":
        happened = judgements.given_up(said)
    else:
        happened = _TYPES.get(kind, Happened.UNKNOWN)
    return _report(event, event_id, happened, "BouncedAt", "Email", said)


def _change(event: Reading) -> Report:
    """Read that an address was suppressed at Postmark, or is no longer.

    What its customer or its staff decided is not the recipient's word.
    """
    happened = Happened.UNKNOWN
    if event.values.get("SuppressSending") is True:
        happened = _SUPPRESSED_FOR.get(event.raw("SuppressionReason"), Happened.UNKNOWN)
        if happened is Happened.UNSUBSCRIBED and event.raw("Origin") != "Recipient":
            happened = Happened.REJECTED
    changed = event.moment("ChangedAt").isoformat()
    named = event.text("MessageID") or hashlib.sha256(event.text("Recipient").encode()).hexdigest()
    return _report(
        event, f"SubscriptionChange/{named}/{changed}", happened, "ChangedAt", "Recipient"
    )


def _report(
    event: Reading,
    event_id: str,
    kind: Happened,
    at: str,
    recipient: str,
    said: Reply | None = None,
) -> Report:
    return Report(
        provider=PROVIDER,
        event_id=event_id,
        kind=kind,
        at=event.moment(at),
        outbox_id=event.part("Metadata").our_number("outbox"),
        provider_id=event.text("MessageID") or None,
        recipient=event.text(recipient) or None,
        detail=" ".join(filter(None, (event.word("Type"), str(said or "")))),
    )
