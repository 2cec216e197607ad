"""Whatever is changed in the record behind its back is named."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from operator import methodcaller
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, literal_column, select, text, update
from sqlalchemy.engine import Connection

from app.db import tables
from app.services import consents
from app.services.consents import Break, Report
from app.tokens import Tokens
from tests.conftest import Clock
from tests.services.people import ADMIN, ANN, Door, imported, sign_up

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]

EVENTS = tables.consent_events
JOINED = tables.subscriptions
BOB = "bob@example.org"


class Undo(Exception):
    """Raised to take back a forgery."""


@pytest.fixture
async def record(
    open_house: None,  # noqa: ARG001 - before anybody can sign up
    door: Door,
    clock: Clock,
) -> list[dict[str, Any]]:
    """Three events of Ann's and two of Bob's, with every column filled somewhere."""
    await door(imported(ANN))
    await door(await door.leave(ANN))
    clock.advance(hours=1)
    await door(sign_up(ANN), sign_up(BOB))
    await door(await door.click(0), await door.click(1))
    return await door.events()


async def after(door: Door, forge: Callable[[Connection], object]) -> Report:
    """Return what verify says of a forgery, which is then taken back."""
    found: list[Report] = []

    def work(connection: Connection) -> None:
        disarm(connection)
        forge(connection)
        found.append(consents.verify(connection))
        raise Undo

    with pytest.raises(Undo):
        await door.engine.write(work)
    return found[0]


def disarm(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("ALTER TABLE consent_events DISABLE TRIGGER USER"))
        return
    for name in ("no_delete", "append_only", "no_replace"):
        connection.execute(text(f"DROP TRIGGER consent_events_{name}"))


def change(row: dict[str, Any], **values: Any) -> Callable[[Connection], object]:  # noqa: ANN401
    return lambda c: c.execute(update(EVENTS).where(EVENTS.c.id == row["id"]).values(**values))


def another(value: Any) -> Any:  # noqa: ANN401 - of any column
    match value:
        case UUID():
            return UUID(int=value.int ^ 1)
        case datetime():
            return value + timedelta(microseconds=1)
        case int():
            return value + 100
        case bytes():
            return bytes([value[0] ^ 1]) + value[1:]
        case str():
            return ("0" if value[0] != "0" else "1") + value[1:]
    raise AssertionError


def named(report: Report) -> tuple[str, int]:
    assert report.broken is not None
    return report.broken.subscription_id, report.broken.sequence


async def test_a_record_that_nobody_touched_holds(door: Door, record: list[dict[str, Any]]) -> None:
    assert await door.verify() == Report(len(record), 2, None)


async def test_every_column_but_the_row_number_is_sealed(
    door: Door, record: list[dict[str, Any]]
) -> None:
    for column in EVENTS.c:
        if column is EVENTS.c.id:
            continue
        row = next(row for row in record if row[column.name] is not None)
        forged = {**row, column.name: another(row[column.name])}
        report = await after(door, change(row, **{column.name: forged[column.name]}))
        # The event is known by what is stored in it, or by the gap that it left behind.
        names = {(str(e["subscription_id"]), e["sequence"]) for e in (row, forged)}
        left = {(str(row["subscription_id"]), row["sequence"] + 1)}
        moved = column.name in {"subscription_id", "sequence"}
        assert named(report) in (names | left if moved else names), column.name


async def test_every_column_is_sealed_against_a_value_that_was_not_there(
    door: Door, record: list[dict[str, Any]]
) -> None:
    for column in EVENTS.c:
        row = next((row for row in record if row[column.name] is None), None)
        if row is None:
            continue
        like = next(r[column.name] for r in record if r[column.name] is not None)
        report = await after(door, change(row, **{column.name: like}))
        assert named(report) == (str(row["subscription_id"]), row["sequence"]), column.name


async def test_every_column_is_sealed_against_being_emptied(
    door: Door, record: list[dict[str, Any]]
) -> None:
    for column in EVENTS.c:
        if not column.nullable:
            continue
        row = next(row for row in record if row[column.name] is not None)
        report = await after(door, change(row, **{column.name: None}))
        assert named(report) == (str(row["subscription_id"]), row["sequence"]), column.name


def raw(forged: str) -> Any:  # noqa: ANN401 - of any type, that is the point
    return literal_column(forged)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_sqlite_may_hold_a_value_of_another_type_and_verify_names_it(
    door: Door, record: list[dict[str, Any]]
) -> None:
    for column in EVENTS.c:
        if column is EVENTS.c.id:
            continue
        for forged in ("'x'", "x'00ff'", "3.5"):
            report = await after(door, change(record[1], **{column.name: raw(forged)}))
            assert report.broken is not None, (column.name, forged)


async def test_a_value_and_its_salt_may_not_go_without_an_end_that_allows_it(
    door: Door, record: list[dict[str, Any]]
) -> None:
    report = await after(door, change(record[0], address=None, address_salt=None))
    assert report.broken == Break(
        str(record[0]["subscription_id"]), 1, "address is gone and nothing allows it"
    )


def place_of(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("subscription_id", "sequence")}


def drop(row: dict[str, Any]) -> Callable[[Connection], object]:
    return lambda c: c.execute(delete(EVENTS).where(EVENTS.c.id == row["id"]))


async def test_a_cut_tail_is_named(door: Door, record: list[dict[str, Any]]) -> None:
    last = record[-1]
    report = await after(door, drop(last))
    assert named(report) == (str(last["subscription_id"]), last["sequence"])


async def test_an_event_cut_from_the_middle_is_named(
    door: Door, record: list[dict[str, Any]]
) -> None:
    report = await after(door, drop(record[1]))
    assert named(report) == (str(record[1]["subscription_id"]), 3)
    assert "expected sequence 2" in str(report.broken)


async def test_a_whole_chain_that_is_cut_is_named(door: Door, record: list[dict[str, Any]]) -> None:
    whose = record[0]["subscription_id"]
    report = await after(
        door, lambda c: c.execute(delete(EVENTS).where(EVENTS.c.subscription_id == whose))
    )
    assert report.broken == Break(str(whose), 1, "the whole chain is missing")


async def test_a_head_or_status_that_was_changed_is_named(
    door: Door, record: list[dict[str, Any]]
) -> None:
    whose = record[0]["subscription_id"]
    forged: list[dict[str, Any]] = [
        {"head_hash": "0" * 64},
        {"sequence": 1},
        {"sequence": 9},
        {"status": "unsubscribed"},
    ]
    for values in forged:
        forge = update(JOINED).where(JOINED.c.id == whose).values(values)
        report = await after(door, methodcaller("execute", forge))
        assert named(report)[0] == str(whose)


async def test_a_subscription_that_is_gone_without_an_end_is_named(
    door: Door, record: list[dict[str, Any]]
) -> None:
    whose = record[0]["subscription_id"]
    report = await after(door, lambda c: c.execute(delete(JOINED).where(JOINED.c.id == whose)))
    assert named(report)[0] == str(whose)


async def test_history_that_expiry_keeps_may_not_lose_its_subscription(
    door: Door, clock: Clock
) -> None:
    await door.bring("unsubscribed")
    clock.advance(days=1)
    await door(sign_up())
    clock.advance(days=31)
    await door(await door.expire())
    assert (await door.verify()).broken is None
    report = await after(door, lambda c: c.execute(delete(JOINED)))
    assert "gone" in str(report.broken)


async def test_events_that_change_places_are_named(
    door: Door, record: list[dict[str, Any]]
) -> None:
    anns, bobs = record[2], record[3]
    assert anns["subscription_id"] != bobs["subscription_id"]

    def swap(connection: Connection) -> None:
        mine, theirs = place_of(anns), place_of(bobs)
        for row, place in ((anns, {"sequence": 77}), (bobs, mine), (anns, theirs)):
            change(row, **place)(connection)

    assert (await after(door, swap)).broken is not None


@pytest.mark.usefixtures("record")
async def test_a_text_that_was_changed_or_lost_is_named(door: Door) -> None:
    cases: list[tuple[Any, str]] = [
        (update(tables.policies).values(text="Anything."), "the text of policy 2026-01"),
        (update(tables.wordings).values(text="Anything."), "the text of wording"),
        (update(tables.policies).values(version="other"), "policy 2026-01 is not there"),
        (delete(tables.policies), "policy 2026-01 is not there"),
        (delete(tables.wordings), "is not there"),
    ]
    for statement, reason in cases:
        report = await after(door, methodcaller("execute", statement))
        assert reason in str(report.broken)


async def test_a_text_may_be_rewritten_only_with_another_hash(
    door: Door, record: list[dict[str, Any]]
) -> None:
    new = hashlib.sha256(b"Anything.").hexdigest()
    report = await after(
        door, lambda c: c.execute(update(tables.wordings).values(text="Anything.", hash=new))
    )
    assert named(report) == (str(record[2]["subscription_id"]), 3)


async def test_long_records_are_read_page_by_page(door: Door) -> None:
    await door(*(sign_up(f"{number}@example.org") for number in range(1_100)))
    assert await door.verify() == Report(1_100, 1_100, None)
    last = (await door.events())[-1]
    report = await after(door, change(last, method="page"))
    assert named(report) == (str(last["subscription_id"]), 1)


async def proof(door: Door, email: str = ANN) -> dict[str, Any]:
    who = tables.subscribers

    def read(connection: Connection) -> dict[str, Any]:
        found = connection.scalar(select(who.c.id).where(who.c.email_key == email))
        assert found is not None
        return consents.proof(connection, found)

    return await door.engine.read(read)


async def test_a_proof_has_events_wordings_policies_and_says_that_it_holds(
    door: Door, record: list[dict[str, Any]]
) -> None:
    found = await proof(door)
    assert found["verified"] is True
    assert found["subscriber"]["email"] == ANN
    assert [event["kind"] for event in found["events"]] == [
        "imported",
        "withdrawn",
        "requested",
        "confirmed",
    ]
    assert {event["subscription_id"] for event in found["events"]} == {record[0]["subscription_id"]}
    assert [policy["text"] for policy in found["policies"]] == ["The text of 2026-01."]
    [wording] = found["wordings"]
    assert hashlib.sha256(wording["text"].encode()).hexdigest() == found["events"][3]["wording"]


@pytest.mark.usefixtures("record")
async def test_anybody_can_recompute_the_digests_of_a_proof(door: Door) -> None:
    event = (await proof(door))["events"][0]
    salted = bytes.fromhex(event["address_salt"]) + ANN.encode()
    assert hashlib.sha256(salted).hexdigest() == event["address_digest"]
    assert (event["evidence"], event["actor"]) == ("paper form 7", ADMIN.actor)


async def test_a_proof_of_a_forged_record_says_that_it_does_not_hold(
    door: Door, record: list[dict[str, Any]]
) -> None:
    def forge(connection: Connection) -> None:
        disarm(connection)
        change(record[0], method="form")(connection)

    await door.engine.write(forge)
    assert (await proof(door))["verified"] is False
    assert (await proof(door, BOB))["verified"] is True


async def test_a_proof_without_any_event_does_not_hold(
    door: Door, record: list[dict[str, Any]]
) -> None:
    def forge(connection: Connection) -> None:
        disarm(connection)
        connection.execute(delete(EVENTS))

    await door.engine.write(forge)
    found = await proof(door)
    assert (found["events"], found["verified"]) == ([], False)
    assert record


async def test_a_new_secret_key_does_not_touch_the_record(
    door: Door, record: list[dict[str, Any]]
) -> None:
    rotated = Door(door.engine, replace(door.house, tokens=Tokens(("n" * 40,))))
    assert (await rotated.verify()).events == len(record)
