"""Amazon SES, whose events come as SNS messages that are proven already (`sns`)."""

from datetime import datetime

from app.domain.errors import Unreadable
from app.domain.feedback import Happened, Report
from app.mail.feedback import judgements, readings
from app.mail.feedback.readings import Reading

PROVIDER = "ses"

_NOT_COMPLAINTS = {"not-spam", "auth-failure", "virus"}
"""Of the feedback types of RFC 5965 and 6650, those that are not the recipient's displeasure."""

_SUPPRESSED = {"Suppressed", "OnAccountSuppressionList", "UnsubscribedRecipient"}
_CONTENT = {"MessageTooLarge", "ContentRejected", "AttachmentRejected"}

_Told = tuple[Happened, str, str]
"""What happened, the recipient, the detail."""


def reports(message: Reading, now: datetime) -> list[Report]:
    """Return what a proven message tells, one report for each recipient; opens and clicks none.

    Raises Invalid.
    """
    message_id = message.needed("MessageId")
    if message.raw("Type") != "Notification":
        return [_unknown(message_id, now, message.word("Type"))]
    try:
        event = readings.document(message.raw("Message"))
    except Unreadable:  # SES greets a new topic with a sentence
        return [_unknown(message_id, now, "")]
    name = event.text("eventType") or event.text("notificationType")
    if name in {"Open", "Click"}:
        return []
    found = _read(event, name)
    if found is None:
        return [_unknown(message_id, now, event.word("eventType"))]
    (at, told), mail = found, event.part("mail")
    return [
        Report(
            provider=PROVIDER,
            event_id=f"{message_id}/{number}",
            kind=happened,
            at=at,
            outbox_id=mail.part("tags").our_number("outbox"),
            provider_id=mail.text("messageId") or None,
            recipient=recipient or None,
            detail=detail,
        )
        for number, (happened, recipient, detail) in enumerate(told)
    ]


def _read(event: Reading, name: str) -> tuple[datetime, list[_Told]] | None:
    """Return when it happened, and what to whom; None if the event is not known."""
    match name:
        case "Send":
            return event.part("mail").moment("timestamp"), [(Happened.ACCEPTED, "", "")]
        case "Reject" | "Rendering Failure" | "RenderingFailure":
            return event.part("mail").moment("timestamp"), [(Happened.REJECTED, "", "")]
        case "Delivery":
            found = event.part("delivery")
            told = [(Happened.DELIVERED, to, "") for to in found.texts("recipients")]
        case "DeliveryDelay":
            found = event.part("deliveryDelay")
            told = [
                (Happened.DEFERRED, to.text("emailAddress"), found.word("delayType"))
                for to in found.parts("delayedRecipients")
            ]
        case "Bounce":
            found = event.part("bounce")
            told = [_bounced(found, to) for to in found.parts("bouncedRecipients")]
        case "Complaint":
            found = event.part("complaint")
            told = [_complained(found, to) for to in found.parts("complainedRecipients")]
        case "Subscription":
            found = event.part("subscription")
            left = found.part("newTopicPreferences").values.get("unsubscribeAll") is True
            told = [(Happened.UNSUBSCRIBED if left else Happened.UNKNOWN, "", name)]
        case _:
            return None
    return found.moment("timestamp"), told


def _bounced(bounce: Reading, to: Reading) -> _Told:
    kind, subtype = bounce.text("bounceType"), bounce.word("bounceSubType")
    said = judgements.reply(to.raw("diagnosticCode"), to.text("status"))
    if subtype in _SUPPRESSED:
        happened = Happened.REJECTED  # it was not tried, so nothing is new
    elif subtype in _CONTENT:
        happened = Happened.FAILED
    elif kind == "Transient":
        happened = judgements.given_up(said)
    else:
        happened = judgements.permanent(said, no_mailbox=subtype == "NoEmail")
    detail = " ".join(filter(None, (bounce.word("bounceType"), subtype, str(said))))
    return happened, to.text("emailAddress"), detail


def _complained(complaint: Reading, to: Reading) -> _Told:
    kind, subtype = complaint.word("complaintFeedbackType"), complaint.word("complaintSubType")
    if subtype in _SUPPRESSED:
        happened = Happened.REJECTED
    elif kind in _NOT_COMPLAINTS:
        happened = Happened.UNKNOWN
    else:
        happened = Happened.COMPLAINT
    return happened, to.text("emailAddress"), kind or subtype


def _unknown(event_id: str, now: datetime, detail: str) -> Report:
    return Report(PROVIDER, event_id, Happened.UNKNOWN, now, detail=detail)
