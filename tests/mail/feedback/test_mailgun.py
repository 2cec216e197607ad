import json
from datetime import timedelta
from typing import Any

import pytest

from app.domain.errors import Distrusted, Invalid, Unreadable
from app.domain.feedback import Happened, Report
from app.mail.feedback import mailgun
from tests.mail.feedback import payloads
from tests.mail.feedback.payloads import ANN, AT, MAILGUN_ID, MAILGUN_KEY, OUTBOX

TOKEN = payloads.mailgun_signature(AT)["token"]


def read(payload: object) -> list[Report]:
    return mailgun.reports(json.dumps(payload).encode(), MAILGUN_KEY, AT)


def report(kind: Happened, detail: str = "") -> Report:
    return Report(
        provider="mailgun",
        event_id=TOKEN,
        kind=kind,
        at=AT,
        outbox_id=OUTBOX,
        provider_id=MAILGUN_ID,
        recipient=ANN,
        detail=detail,
    )


def test_a_hard_bounce() -> None:
    expected = report(Happened.HARD_BOUNCE, "bounce 550 5.1.1")
    assert read(payloads.mailgun_failure(AT)) == [expected]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("accepted", report(Happened.ACCEPTED)),
        ("delivered", report(Happened.DELIVERED)),
        ("complained", report(Happened.COMPLAINT)),
        ("unsubscribed", report(Happened.UNSUBSCRIBED)),
        ("rejected", report(Happened.REJECTED)),
        ("stored", report(Happened.UNKNOWN, "stored")),
        ("something new", report(Happened.UNKNOWN)),
    ],
)
def test_each_event(event: str, expected: Report) -> None:
    assert read(payloads.mailgun(event, AT)) == [expected]


@pytest.mark.parametrize(
    ("values", "happened"),
    [
        ({"severity": "temporary"}, Happened.DEFERRED),
        ({"reason": "suppress-bounce", "status": {"code": 605}}, Happened.REJECTED),
        ({"reason": "suppress-complaint"}, Happened.REJECTED),
        ({"reason": "suppress-unsubscribe"}, Happened.REJECTED),
        ({"reason": "old", "status": {"code": 602, "enhanced-code": ""}}, Happened.SOFT_BOUNCE),
        ({"reason": "old", "status": {"code": 450, "enhanced-code": "4.7.1"}}, Happened.FAILED),
        ({"status": {"enhanced-code": "5.7.1"}}, Happened.FAILED),
        ({"status": {"enhanced-code": "", "message": "5.7.1 blocked"}}, Happened.FAILED),
        ({"status": {"enhanced-code": "", "message": "5.1.1 gone"}}, Happened.HARD_BOUNCE),
        ({"status": {"enhanced-code": "", "message": "No such user"}}, Happened.SOFT_BOUNCE),
        ({"status": {"code": 552, "enhanced-code": "5.2.2"}}, Happened.SOFT_BOUNCE),
        ({"status": {"code": 554, "enhanced-code": "", "message": "spam"}}, Happened.FAILED),
        ({"reason": "generic", "delivery-status": {}}, Happened.FAILED),
        ({"delivery-status": None}, Happened.FAILED),
    ],
)
def test_each_failure(values: dict[str, Any], happened: Happened) -> None:
    assert read(payloads.mailgun_failure(AT, **values))[0].kind is happened


@pytest.mark.parametrize("event", ["opened", "clicked"])
def test_who_opened_or_clicked_is_not_kept_but_the_token_is_spent(event: str) -> None:
    payload = payloads.mailgun(event, AT, ip="192.0.2.1")
    assert read(payload) == [Report("mailgun", TOKEN, Happened.UNKNOWN, AT)]


def test_the_token_names_the_event_whatever_the_body_says() -> None:
    for payload in (payloads.mailgun("complained", AT, id="x"), payloads.mailgun("opened", AT)):
        assert read(payload)[0].event_id == TOKEN


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"signature": "0" * 64}, "signature"),
        ({"signature": ""}, "signature"),
        ({"signature": None}, "signature"),
        ({"signature": "ä"}, "signature"),
        ({"signature": []}, "form"),
        ({"token": "another-token-of-somebody"}, "signature"),
        ({"token": "short"}, "form"),
        ({"token": "with/slashes/and/more"}, "form"),
        ({"token": None}, "form"),
        ({"timestamp": "1"}, "signature"),
        ({"timestamp": "-1"}, "form"),
        ({"timestamp": "now"}, "form"),
        ({"timestamp": True}, "form"),
        ({"timestamp": None}, "form"),
    ],
)
def test_a_wrong_signature_is_refused(change: dict[str, Any], why: str) -> None:
    payload = payloads.mailgun("complained", AT)
    payload["signature"] |= change
    with pytest.raises(Distrusted) as error:
        read(payload)
    assert error.value.reason == why


def test_another_key_is_refused() -> None:
    body = json.dumps(payloads.mailgun("complained", AT)).encode()
    with pytest.raises(Distrusted):
        mailgun.reports(body, b"another key", AT)


@pytest.mark.parametrize("signature", [None, [], "text", {}])
def test_no_signature_is_refused(signature: object) -> None:
    with pytest.raises(Distrusted):
        read({**payloads.mailgun("complained", AT), "signature": signature})


@pytest.mark.parametrize(
    ("age", "accepted"),
    [
        (timedelta(hours=8), True),
        (timedelta(hours=9, seconds=1), False),
        (timedelta(days=900), False),
        (-timedelta(minutes=4), True),
        (-timedelta(minutes=6), False),
        (-timedelta(days=36_500 * 2), False),
    ],
)
def test_a_signature_has_its_time(age: timedelta, *, accepted: bool) -> None:
    payload = payloads.mailgun("complained", AT - age)
    if accepted:
        assert read(payload)[0].kind is Happened.COMPLAINT
        return
    with pytest.raises(Distrusted) as error:
        read(payload)
    assert error.value.reason == "time"


def test_a_number_is_a_time_as_well() -> None:
    payload = payloads.mailgun("complained", AT)
    payload["signature"]["timestamp"] = int(payload["signature"]["timestamp"])
    assert read(payload)[0].kind is Happened.COMPLAINT


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({"event": None}, "/event-data/event"),
        ({"timestamp": None}, "/event-data/timestamp"),
        ({"timestamp": 1e300}, "/event-data/timestamp"),
        ({"message": []}, "/event-data/message"),
        ({"message": {"headers": 1}}, "/event-data/message/headers"),
        ({"user-variables": "x"}, "/event-data/user-variables"),
        ({"recipient": "a\x00b"}, "/event-data/recipient"),
    ],
)
def test_what_is_not_as_described_is_named(values: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as error:
        read(payloads.mailgun(values.pop("event", "delivered"), AT, **values))
    assert error.value.faults[0].pointer == pointer


def test_what_is_no_json_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        mailgun.reports(b"timestamp=1&token=2", MAILGUN_KEY, AT)
