from typing import Any

import pytest

from app.domain.errors import Invalid
from app.domain.feedback import Happened, Report
from app.mail.feedback import ses
from app.mail.feedback.readings import Reading
from tests.mail.feedback import payloads
from tests.mail.feedback.payloads import ANN, AT, OUTBOX, SES_ID, SNS_ID, Amazon

AT_MS = AT.replace(microsecond=907_000)


@pytest.fixture(scope="module")
def amazon() -> Amazon:
    return Amazon(AT)


def read(amazon: Amazon, event: object, **values: Any) -> list[Report]:  # noqa: ANN401
    return ses.reports(Reading(amazon.message(event, **values)), AT)


def report(kind: Happened, recipient: str | None = ANN, detail: str = "") -> Report:
    return Report(
        provider="ses",
        event_id=f"{SNS_ID}/0",
        kind=kind,
        at=AT_MS,
        outbox_id=OUTBOX,
        provider_id=SES_ID,
        recipient=recipient,
        detail=detail,
    )


def test_a_hard_bounce(amazon: Amazon) -> None:
    expected = report(Happened.HARD_BOUNCE, detail="Permanent General 550 5.1.1")
    assert read(amazon, payloads.ses_bounce()) == [expected]


def test_a_notification_without_event_publishing_is_read_as_well(amazon: Amazon) -> None:
    event = payloads.ses_bounce()
    event["notificationType"] = event.pop("eventType")
    del event["mail"]["tags"]
    [found] = read(amazon, event)
    assert (found.kind, found.outbox_id, found.provider_id) == (Happened.HARD_BOUNCE, None, SES_ID)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (payloads.ses("Send", "send"), report(Happened.ACCEPTED, None)),
        (payloads.ses("Reject", "reject", reason="Bad content"), report(Happened.REJECTED, None)),
        (
            payloads.ses("Rendering Failure", "failure", templateName="x"),
            report(Happened.REJECTED, None),
        ),
        (payloads.ses("Delivery", "delivery", recipients=[ANN]), report(Happened.DELIVERED)),
        (
            payloads.ses(
                "DeliveryDelay",
                "deliveryDelay",
                delayType="MailboxFull",
                delayedRecipients=[{"emailAddress": ANN, "status": "4.2.2"}],
            ),
            report(Happened.DEFERRED, detail="MailboxFull"),
        ),
        (
            payloads.ses("Complaint", "complaint", complainedRecipients=[{"emailAddress": ANN}]),
            report(Happened.COMPLAINT),
        ),
        (
            payloads.ses(
                "Subscription", "subscription", newTopicPreferences={"unsubscribeAll": True}
            ),
            report(Happened.UNSUBSCRIBED, None, "Subscription"),
        ),
        (
            payloads.ses(
                "Subscription", "subscription", newTopicPreferences={"unsubscribeAll": False}
            ),
            report(Happened.UNKNOWN, None, "Subscription"),
        ),
    ],
)
def test_each_event(amazon: Amazon, event: dict[str, Any], expected: Report) -> None:
    assert read(amazon, event) == [expected]


@pytest.mark.parametrize(
    ("kind", "subtype", "recipient", "happened"),
    [
        ("Permanent", "General", {"status": "5.7.1"}, Happened.FAILED),
        ("Permanent", "General", {"status": "5.3.0", "diagnosticCode": ""}, Happened.FAILED),
        ("Permanent", "General", {"status": None, "diagnosticCode": None}, Happened.FAILED),
        (
            "Permanent",
            "General",
            {"status": "5.0.0", "diagnosticCode": "smtp; 550 no"},
            Happened.SOFT_BOUNCE,
        ),
        ("Permanent", "NoEmail", {"status": None, "diagnosticCode": None}, Happened.HARD_BOUNCE),
        ("Permanent", "NoEmail", {"status": "5.7.1"}, Happened.FAILED),
        ("Permanent", "Suppressed", {}, Happened.REJECTED),
        ("Permanent", "OnAccountSuppressionList", {}, Happened.REJECTED),
        ("Permanent", "UnsubscribedRecipient", {}, Happened.REJECTED),
        (
            "Transient",
            "General",
            {"status": "4.4.7", "diagnosticCode": "smtp; 554 4.4.7 expired"},
            Happened.SOFT_BOUNCE,
        ),
        ("Transient", "MailboxFull", {"status": "5.2.2"}, Happened.SOFT_BOUNCE),
        ("Transient", "CustomTimeoutExceeded", {"status": None}, Happened.SOFT_BOUNCE),
        ("Transient", "General", {"status": "5.7.1"}, Happened.FAILED),
        ("Transient", "MessageTooLarge", {}, Happened.FAILED),
        ("Transient", "ContentRejected", {}, Happened.FAILED),
        ("Transient", "AttachmentRejected", {}, Happened.FAILED),
        ("Undetermined", "Undetermined", {}, Happened.HARD_BOUNCE),
        (
            "Undetermined",
            "Undetermined",
            {"status": None, "diagnosticCode": None},
            Happened.FAILED,
        ),
    ],
)
def test_each_bounce(
    amazon: Amazon, kind: str, subtype: str, recipient: dict[str, Any], happened: Happened
) -> None:
    [found] = read(amazon, payloads.ses_bounce(kind, subtype, **recipient))
    assert found.kind is happened


@pytest.mark.parametrize(
    ("values", "happened"),
    [
        ({"complaintFeedbackType": "abuse"}, Happened.COMPLAINT),
        ({"complaintFeedbackType": "fraud"}, Happened.COMPLAINT),
        ({"complaintFeedbackType": "other"}, Happened.COMPLAINT),
        ({"complaintFeedbackType": None}, Happened.COMPLAINT),
        ({"complaintFeedbackType": "not-spam"}, Happened.UNKNOWN),
        ({"complaintFeedbackType": "auth-failure"}, Happened.UNKNOWN),
        ({"complaintFeedbackType": "virus"}, Happened.UNKNOWN),
        ({"complaintSubType": "OnAccountSuppressionList"}, Happened.REJECTED),
    ],
)
def test_only_displeasure_is_a_complaint(
    amazon: Amazon, values: dict[str, Any], happened: Happened
) -> None:
    to = [{"emailAddress": ANN}]
    [found] = read(
        amazon, payloads.ses("Complaint", "complaint", complainedRecipients=to, **values)
    )
    assert found.kind is happened


def test_several_recipients_are_several_reports(amazon: Amazon) -> None:
    event = payloads.ses_bounce()
    other = {"emailAddress": "ben@example.org", "status": "5.7.1"}
    event["bounce"]["bouncedRecipients"].append(other)
    found = [(r.event_id, r.recipient, r.kind) for r in read(amazon, event)]
    assert found == [
        (f"{SNS_ID}/0", ANN, Happened.HARD_BOUNCE),
        (f"{SNS_ID}/1", "ben@example.org", Happened.FAILED),
    ]


@pytest.mark.parametrize("name", ["Open", "Click"])
def test_who_opened_or_clicked_is_not_kept(amazon: Amazon, name: str) -> None:
    assert read(amazon, payloads.ses(name, name.lower(), ipAddress="192.0.2.1")) == []


@pytest.mark.parametrize(
    ("event", "detail"),
    [
        ("Successfully validated SNS topic for Amazon SES event publishing.", ""),
        ("[]", ""),
        (payloads.ses("SomethingNew", "new"), "SomethingNew"),
        ({}, ""),
    ],
)
def test_what_is_not_known_is_kept_and_says_nothing(
    amazon: Amazon, event: object, detail: str
) -> None:
    expected = Report("ses", SNS_ID, Happened.UNKNOWN, AT, detail=detail)
    assert read(amazon, event) == [expected]


def test_what_is_about_the_subscription_is_kept(amazon: Amazon) -> None:
    for kind in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        [found] = ses.reports(Reading(amazon.confirmation(Type=kind)), AT)
        assert (found.kind, found.detail) == (Happened.UNKNOWN, kind)


def test_what_a_server_said_is_not_kept(amazon: Amazon) -> None:
    said = f"smtp; 550 5.1.1 <{ANN}>... User unknown"
    [found] = read(amazon, payloads.ses_bounce(diagnosticCode=said))
    assert found.detail == "Permanent General 550 5.1.1"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"bounce": []}, "/bounce"),
        ({"bounce": {"bouncedRecipients": {}}}, "/bounce/bouncedRecipients"),
        ({"bounce": {"bouncedRecipients": [1]}}, "/bounce/bouncedRecipients"),
        ({"bounce": {"bouncedRecipients": []}}, "/bounce/timestamp"),
        ({"mail": 1}, "/mail"),
        ({"mail": {"messageId": []}}, "/mail/messageId"),
        ({"mail": {"tags": []}}, "/mail/tags"),
        ({"eventType": 1.5}, "/eventType"),
    ],
)
def test_what_is_not_as_described_is_named(
    amazon: Amazon, change: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(Invalid) as error:
        read(amazon, {**payloads.ses_bounce(), **change})
    assert error.value.faults[0].pointer == pointer
