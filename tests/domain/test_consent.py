import hashlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from app.domain import consent
from app.domain.consent import FORMAT, GENESIS, NO_EVENTS, PERSONAL, Act, Head, Place
from app.domain.subscription import Kind

SUBSCRIPTION = UUID("01940000-0000-7000-8000-000000000001")
SUBSCRIBER = UUID("01940000-0000-7000-8000-000000000002")
ENTROPY = bytes(range(80))
ASKED = Act(
    kind=Kind.REQUESTED,
    at=datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC),
    newsletter="insights",
    method="form",
    policy_version="2026-01",
    wording="ab" * 32,
    locale="de",
    address="ann@exämple.org",
    page_url="https://example.org/blog",
    ip="192.0.2.1",
)

# Written by hand from the contract, with nothing of the code under test.
ADDRESS = hashlib.sha256(bytes(range(16)) + "ann@exämple.org".encode()).hexdigest()
PAGE = hashlib.sha256(bytes(range(16, 32)) + b"https://example.org/blog").hexdigest()
IP = hashlib.sha256(bytes(range(32, 48)) + b"192.0.2.1").hexdigest()
CANONICAL = (
    f'{{"actor":null,"address_digest":"{ADDRESS}","at":"2026-02-03T04:05:06.000007Z",'
    '"confirms":null,"evidence_digest":null,"format":1,"generation":1,'
    f'"ip_digest":"{IP}","kind":"requested","locale":"de","method":"form",'
    f'"newsletter":"insights","page_url_digest":"{PAGE}","policy_version":"2026-01",'
    '"sequence":1,"subscriber_id":"01940000-0000-7000-8000-000000000002",'
    '"subscription_id":"01940000-0000-7000-8000-000000000001","user_agent_digest":null,'
    f'"wording":"{"ab" * 32}"}}'
).encode()


def place(head: Head = NO_EVENTS) -> Place:
    return Place(SUBSCRIPTION, SUBSCRIBER, 1, head)


@pytest.fixture
def asked() -> dict[str, Any]:
    return consent.record(ASKED, place(), ENTROPY)


@pytest.fixture
def confirmed(asked: dict[str, Any]) -> dict[str, Any]:
    act = Act(
        kind=Kind.CONFIRMED,
        at=ASKED.at + timedelta(minutes=1),
        newsletter="insights",
        method="page",
        confirms=1,
        address="ann@exämple.org",
        user_agent="Mozilla/5.0",
        evidence="paper form 7",
    )
    return consent.record(act, place(consent.head_of(asked)), ENTROPY[::-1])


def test_an_event_is_hashed_as_exactly_these_bytes(asked: dict[str, Any]) -> None:
    assert consent.canonical(asked) == CANONICAL
    assert asked["previous_hash"] == "0" * 64
    assert asked["hash"] == hashlib.sha256(b"0" * 64 + CANONICAL).hexdigest()


def test_what_is_not_ascii_is_hashed_as_utf_8(asked: dict[str, Any]) -> None:
    assert '"newsletter":"Grüße"'.encode() in consent.canonical({**asked, "newsletter": "Grüße"})


@pytest.mark.parametrize("hours", [-11, 0, 2])
def test_a_time_is_hashed_in_utc_wherever_it_was_taken(asked: dict[str, Any], hours: int) -> None:
    elsewhere = ASKED.at.astimezone(timezone(timedelta(hours=hours)))
    assert consent.seal({**asked, "at": elsewhere}) == asked["hash"]


def test_the_second_event_seals_the_first(asked: dict[str, Any], confirmed: dict[str, Any]) -> None:
    assert (confirmed["sequence"], confirmed["previous_hash"]) == (2, asked["hash"])
    sealed = asked["hash"].encode() + consent.canonical(confirmed)
    assert confirmed["hash"] == hashlib.sha256(sealed).hexdigest()
    assert consent.head_of(confirmed) == Head(2, confirmed["hash"])


def test_each_personal_value_has_a_salt_of_its_own(
    asked: dict[str, Any], confirmed: dict[str, Any]
) -> None:
    salts = [row[f"{name}_salt"] for row in (asked, confirmed) for name in PERSONAL if row[name]]
    assert len(set(salts)) == len(salts) == 6
    assert {len(salt) for salt in salts} == {16}
    assert asked["evidence_salt"] is asked["evidence_digest"] is None


@pytest.mark.parametrize("redacted", [True, False])
def test_a_chain_that_nobody_touched_has_no_fault(
    asked: dict[str, Any], confirmed: dict[str, Any], *, redacted: bool
) -> None:
    assert consent.fault_in(asked, NO_EVENTS, redacted=redacted) is None
    assert consent.fault_in(confirmed, consent.head_of(asked), redacted=redacted) is None


def forged(value: object) -> object:
    match value:
        case UUID():
            return UUID(int=value.int + 1)
        case datetime():
            return value + timedelta(microseconds=1)
        case int():
            return value + 1
        case bytes():
            return bytes([value[0] ^ 1]) + value[1:]
        case str():
            return ("x" if value[0] != "x" else "y") + value[1:]
        case _:
            return "x"


@pytest.mark.parametrize(
    "name", consent.record(ASKED, place(), ENTROPY), ids=lambda name: f"with another {name}"
)
@pytest.mark.parametrize("redacted", [True, False])
def test_a_forged_column_is_a_fault(asked: dict[str, Any], name: str, *, redacted: bool) -> None:
    tampered = {**asked, name: forged(asked[name])}
    assert consent.fault_in(tampered, NO_EVENTS, redacted=redacted) is not None


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"sequence": 3}, "expected sequence 2"),
        ({"format": FORMAT + 1}, "unknown format 2"),
        ({"previous_hash": GENESIS}, "previous_hash does not match the event before"),
        ({"kind": "withdrawn"}, "hash does not match the contents"),
        ({"confirms": None}, "hash does not match the contents"),
        ({"newsletter": "\ud800"}, "contents cannot be read"),
        ({"method": b"page"}, "contents cannot be read"),
        ({"at": "not a time"}, "hash does not match the contents"),
        ({"address": "bob@example.org"}, "address does not match its digest"),
        ({"address_salt": bytes(16)}, "address does not match its digest"),
        ({"address": None}, "address or its salt is gone"),
        ({"address_salt": None}, "address or its salt is gone"),
        ({"address": None, "address_salt": None}, "address is gone and nothing allows it"),
        ({"ip": "192.0.2.9"}, "ip was added"),
        ({"ip_salt": bytes(16)}, "ip was added"),
    ],
)
def test_a_fault_is_named(
    asked: dict[str, Any], confirmed: dict[str, Any], change: dict[str, Any], fault: str
) -> None:
    tampered = {**confirmed, **change}
    assert consent.fault_in(tampered, consent.head_of(asked), redacted=False) == fault


def test_personal_values_may_be_gone_only_where_that_is_allowed(asked: dict[str, Any]) -> None:
    gone = {**asked, **{f"{name}{end}": None for name in PERSONAL for end in ("", "_salt")}}
    assert consent.fault_in(gone, NO_EVENTS, redacted=True) is None
    assert consent.fault_in(gone, NO_EVENTS, redacted=False) is not None


def test_what_is_redacted_cannot_be_replaced(asked: dict[str, Any]) -> None:
    replaced = {**asked, "address": "bob@example.org", "address_salt": bytes(16)}
    assert consent.fault_in(replaced, NO_EVENTS, redacted=True) is not None


@pytest.mark.parametrize(
    ("kinds", "end"),
    [
        ("", 0),
        ("requested", 0),
        ("requested confirmed withdrawn", 0),
        ("requested expired", 2),
        ("requested requested expired", 3),
        ("requested withdrawn requested expired", 4),
        ("requested confirmed withdrawn requested expired", 0),
        ("imported withdrawn requested expired", 0),
        ("requested confirmed erased", 3),
        ("requested confirmed withdrawn requested expired erased", 6),
        ("requested erased requested confirmed", 2),
    ],
)
def test_an_end_without_consent_allows_redaction(kinds: str, end: int) -> None:
    assert consent.redaction_end(dict(enumerate(kinds.split(), 1))) == end


def test_redaction_does_not_depend_on_the_order_in_which_events_are_read() -> None:
    kinds = {3: "expired", 1: "requested", 2: "confirmed"}
    assert consent.redaction_end(kinds) == 0


def test_a_forged_sequence_of_another_type_allows_nothing() -> None:
    forged_kinds: dict[Any, str] = {1: "requested", "two": "erased"}
    assert consent.redaction_end(forged_kinds) == 0
