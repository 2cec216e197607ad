import pytest
from sqlalchemy.engine import Connection

from app.db import suppressions, tables
from app.domain.subscription import Reason
from tests.conftest import Clock, Make
from tests.services.people import ANN, Door, answers, imported, sign_up

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]


async def suppress(door: Door, reason: Reason) -> None:
    def add(connection: Connection) -> None:
        hashed = door.house.address_hash(ANN)
        suppressions.add(connection, [(hashed, reason)], door.house.clock())

    await door.engine.write(add)


@pytest.mark.parametrize("reason", [Reason.HARD_BOUNCE, Reason.COMPLAINT, Reason.MANUAL])
async def test_a_suppressed_address_is_answered_and_nothing_happens(
    door: Door, reason: Reason
) -> None:
    await suppress(door, reason)
    assert answers(await door(sign_up(), imported())) == ["accepted", "unchanged"]
    assert await door.rows(tables.subscribers) == []
    assert await door.kinds() == await door.mails() == []


async def test_an_erased_address_is_not_imported_but_may_come_back_by_itself(door: Door) -> None:
    await suppress(door, Reason.ERASED)
    assert answers(await door(imported())) == ["unchanged"]
    assert await door.status() == "none"

    await door(sign_up())
    assert await door.reasons() == ["erased"]
    assert answers(await door(await door.click())) == ["confirmed"]
    assert await door.reasons() == []


async def test_confirming_does_not_lift_any_other_reason(door: Door) -> None:
    await door(sign_up())
    await door(await door.bounce())
    assert answers(await door(await door.click())) == ["confirmed"]
    assert await door.reasons() == ["hard_bounce"]


@pytest.mark.parametrize("status", ["pending", "confirmed"])
async def test_mail_that_waits_for_a_suppressed_address_is_skipped(door: Door, status: str) -> None:
    await door.bring(status)
    await door(await door.bounce())
    assert await door.claim() == []
    outcomes = {row["outcome"] for row in await door.rows(tables.outbox)}
    assert "suppressed" in outcomes
    assert {row["state"] for row in await door.rows(tables.outbox)} == {"skipped"}


async def test_a_suppression_counts_for_the_rest_of_the_same_list(door: Door, clock: Clock) -> None:
    await door(sign_up())
    clock.advance(minutes=20)
    await door(await door.complain(), sign_up())
    assert await door.status() == "unsubscribed"
    assert await door.mails() == ["confirm"]


async def test_a_lifted_erasure_counts_for_the_rest_of_the_same_list(
    door: Door, newsletter: Make
) -> None:
    await newsletter("offers")
    await suppress(door, Reason.ERASED)
    await door(sign_up())
    results = await door(await door.click(), imported(slug="offers"))
    assert answers(results) == ["confirmed", "done"]


async def test_a_suppression_keeps_its_date(door: Door, clock: Clock) -> None:
    await door(sign_up())
    first = clock.now
    await door(await door.bounce())
    clock.advance(days=1)
    await door(await door.bounce())
    [row] = await door.rows(tables.suppressions)
    assert row["created_at"] == first


async def test_another_address_is_not_suppressed_with_it(door: Door) -> None:
    await suppress(door, Reason.MANUAL)
    await door(sign_up("ann+x@example.org"))
    assert await door.status("ann+x@example.org") == "pending"
