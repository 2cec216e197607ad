import json
from typing import Any

import pytest

from app.domain.errors import Invalid, Unreadable
from app.domain.feedback import Happened, Report
from app.mail.feedback import postmark
from tests.mail.feedback import payloads
from tests.mail.feedback.payloads import ANN, AT, OUTBOX, POSTMARK_ID


def read(body: bytes) -> list[Report]:
    return postmark.reports(body, AT)


def kind(body: bytes) -> Happened:
    return read(body)[0].kind


def test_a_hard_bounce() -> None:
    assert read(payloads.postmark_bounce()) == [
        Report(
            provider="postmark",
            event_id="Bounce/4323372036854775807",
            kind=Happened.HARD_BOUNCE,
            at=AT,
            outbox_id=OUTBOX,
            provider_id=POSTMARK_ID,
            recipient=ANN,
            detail="HardBounce 550 5.1.1",
        )
    ]


def test_a_delivery() -> None:
    body = payloads.postmark("Delivery", Details="Test delivery webhook details")
    assert read(body) == [
        Report(
            provider="postmark",
            event_id=f"Delivery/{POSTMARK_ID}",
            kind=Happened.DELIVERED,
            at=AT,
            outbox_id=OUTBOX,
            provider_id=POSTMARK_ID,
            recipient=ANN,
        )
    ]


def test_a_complaint() -> None:
    body = payloads.postmark("SpamComplaint", ID=42, Type="SpamComplaint", TypeCode=100001)
    [report] = read(body)
    assert (report.kind, report.event_id) == (Happened.COMPLAINT, "SpamComplaint/42")


@pytest.mark.parametrize(
    ("named", "details", "happened"),
    [
        ("HardBounce", "smtp;550 Unknown user", Happened.HARD_BOUNCE),
        ("HardBounce", "", Happened.HARD_BOUNCE),
        ("HardBounce", "smtp;550 5.7.1 Message rejected", Happened.FAILED),
        ("HardBounce", "smtp;554 5.7.26 Unauthenticated", Happened.FAILED),
        ("HardBounce", "smtp;552 5.2.2 Mailbox full", Happened.SOFT_BOUNCE),
        ("BadEmailAddress", "", Happened.HARD_BOUNCE),
        ("SoftBounce", "smtp;452 4.2.2 Over quota", Happened.SOFT_BOUNCE),
        ("SoftBounce", "smtp;450 4.7.1 Greylisted by policy", Happened.FAILED),
        ("DnsError", "", Happened.SOFT_BOUNCE),
        ("Transient", "", Happened.DEFERRED),
        ("Unsubscribe", "", Happened.UNSUBSCRIBED),
        ("SpamComplaint", "", Happened.COMPLAINT),
        ("SpamNotification", "smtp;550 5.1.1 spam", Happened.FAILED),
        ("Blocked", "smtp;550 5.1.1 blocked", Happened.FAILED),
        ("VirusNotification", "", Happened.FAILED),
        ("DMARCPolicy", "", Happened.FAILED),
        ("OpenRelayTest", "", Happened.FAILED),
        ("ManuallyDeactivated", "", Happened.REJECTED),
        ("Unconfirmed", "", Happened.REJECTED),
        ("SMTPApiError", "", Happened.REJECTED),
        ("TemplateRenderingFailed", "", Happened.REJECTED),
        ("AutoResponder", "", Happened.UNKNOWN),
        ("ChallengeVerification", "", Happened.UNKNOWN),
        ("AddressChange", "", Happened.UNKNOWN),
        ("Subscribe", "", Happened.UNKNOWN),
        ("Unknown", "", Happened.UNKNOWN),
        ("SomethingNew", "", Happened.UNKNOWN),
    ],
)
def test_each_type_of_bounce(named: str, details: str, happened: Happened) -> None:
    assert kind(payloads.postmark_bounce(named, Details=details)) is happened


@pytest.mark.parametrize(
    ("values", "happened"),
    [
        ({"SuppressionReason": "HardBounce"}, Happened.REJECTED),
        ({"SuppressionReason": "SpamComplaint"}, Happened.COMPLAINT),
        ({"SuppressionReason": "ManualSuppression"}, Happened.UNSUBSCRIBED),
        ({"SuppressionReason": "ManualSuppression", "Origin": "Customer"}, Happened.REJECTED),
        ({"SuppressionReason": "ManualSuppression", "Origin": "Admin"}, Happened.REJECTED),
        ({"SuppressionReason": "SomethingNew"}, Happened.UNKNOWN),
        ({"SuppressionReason": "HardBounce", "SuppressSending": False}, Happened.UNKNOWN),
        ({"SuppressionReason": None, "SuppressSending": False}, Happened.UNKNOWN),
    ],
)
def test_a_change_of_subscription(values: dict[str, Any], happened: Happened) -> None:
    changed = {"Origin": "Recipient", "SuppressSending": True, **values}
    [report] = read(payloads.postmark("SubscriptionChange", **changed))
    assert report.kind is happened
    assert (report.at, report.outbox_id, report.recipient) == (AT, OUTBOX, ANN)


def test_a_change_without_a_mail_is_told_from_others_by_its_recipient_and_time() -> None:
    changes = [
        payloads.postmark("SubscriptionChange", MessageID=None, **values)
        for values in ({}, {"Recipient": "ben@example.org"}, {"ChangedAt": "2026-11-06T00:00:00Z"})
    ]
    reports = [read(body)[0] for body in changes]
    assert len({report.event_id for report in reports}) == 3
    assert {report.provider_id for report in reports} == {None}
    assert not any("@" in report.event_id for report in reports)


@pytest.mark.parametrize("record", ["Open", "Click"])
def test_who_opened_or_clicked_is_not_kept(record: str) -> None:
    assert read(payloads.postmark(record, ReceivedAt="2026-11-05T16:33:54Z")) == []


def test_an_unknown_record_is_kept_once_and_says_nothing() -> None:
    body = payloads.postmark("SMTPApiThing", Email=ANN)
    [report] = read(body)
    assert (report.kind, report.detail, report.at) == (Happened.UNKNOWN, "SMTPApiThing", AT)
    assert {report.recipient, report.outbox_id, report.provider_id} == {None}
    assert read(body) == [report]
    assert read(body + b" ")[0].event_id != report.event_id


def test_a_mail_that_was_not_ours_has_no_number() -> None:
    for metadata in ({}, {"outbox": "x"}, {"order": "42"}, None):
        [report] = read(payloads.postmark_bounce(Metadata=metadata))
        assert report.outbox_id is None
        assert report.provider_id == POSTMARK_ID


def test_what_a_server_said_is_not_kept() -> None:
    [report] = read(payloads.postmark_bounce(Details=f"smtp;550 5.1.1 <{ANN}> unknown"))
    assert report.detail == "HardBounce 550 5.1.1"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"{}", "/RecordType"),
        (payloads.postmark_bounce(RecordType=[1]), "/RecordType"),
        (payloads.postmark_bounce(ID=None), "/ID"),
        (payloads.postmark_bounce(Type=None), "/Type"),
        (payloads.postmark_bounce(BouncedAt=None), "/BouncedAt"),
        (payloads.postmark_bounce(BouncedAt="soon"), "/BouncedAt"),
        (payloads.postmark_bounce(Metadata=[]), "/Metadata"),
        (payloads.postmark_bounce(MessageID=[]), "/MessageID"),
        (payloads.postmark_bounce(Email="a\x00b"), "/Email"),
        (payloads.postmark("Delivery", MessageID=None), "/MessageID"),
        (payloads.postmark("SubscriptionChange", ChangedAt=None), "/ChangedAt"),
        (
            payloads.postmark("SubscriptionChange", MessageID=None, Recipient="\ud800@a.example"),
            "/Recipient",
        ),
    ],
)
def test_what_is_not_as_described_is_named(body: bytes, pointer: str) -> None:
    with pytest.raises(Invalid) as error:
        read(body)
    assert error.value.faults[0].pointer == pointer


def test_what_is_no_json_is_unreadable() -> None:
    for body in (b"", b"RecordType=Bounce", json.dumps([1]).encode()):
        with pytest.raises(Unreadable):
            read(body)
