from datetime import timedelta

import pytest

from app.db import tables
from app.domain.consent import PERSONAL
from app.services import retention
from tests.conftest import Clock, Make
from tests.services.people import Door, answers, imported, sign_up

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]

RETENTION = timedelta(days=30)


async def sweep(door: Door) -> int:
    return await door.engine.write(retention.expire_unconfirmed, door.house, RETENTION)


async def test_who_never_confirmed_is_forgotten_and_the_record_still_holds(
    door: Door, clock: Clock
) -> None:
    await door(sign_up(name="Ann"))
    clock.advance(days=30, seconds=1)
    assert await sweep(door) == 1
    assert await door.rows(tables.subscribers) == await door.rows(tables.subscriptions) == []
    assert await door.kinds() == ["requested", "expired"]
    for event in await door.events():
        assert {event[f"{n}{end}"] for n in PERSONAL for end in ("", "_salt")} == {None}
    assert (await door.verify()).broken is None


@pytest.mark.parametrize(("days", "kept"), [(30, True), (30.00001, False)])
async def test_the_time_counts_from_the_last_request(
    door: Door, clock: Clock, days: float, *, kept: bool
) -> None:
    await door(sign_up())
    clock.advance(days=5)
    await door(sign_up())
    clock.advance(days=days)
    await sweep(door)
    assert (await door.status() == "pending") is kept


@pytest.mark.parametrize("once", ["signed up", "imported"])
async def test_who_was_confirmed_before_goes_back_and_keeps_the_history(
    door: Door, clock: Clock, once: str
) -> None:
    if once == "imported":
        await door(imported())
    else:
        await door.bring("confirmed")
    await door(await door.leave())
    clock.advance(days=1)
    await door(sign_up(name="Mallory"))
    clock.advance(days=31)
    await sweep(door)
    found = await door.joined()
    assert (found["status"], found["generation"]) == (
        "unsubscribed",
        1 if once == "imported" else 2,
    )
    assert found["pending_name"] is None
    assert (await door.kinds())[-3:] == ["withdrawn", "requested", "expired"]
    assert {event["address"] for event in (await door.events())[:-1]} == {"ann@example.org"}
    assert answers(await door(await door.click())) == ["left_since"]
    assert (await door.verify()).broken is None


async def test_only_requests_expire(door: Door, clock: Clock) -> None:
    await door.bring("confirmed", "a@example.org")
    await door.bring("unsubscribed", "b@example.org")
    await door(imported("c@example.org"))
    clock.advance(days=400)
    assert await sweep(door) == 0
    assert len(await door.rows(tables.subscriptions)) == 3


async def test_a_subscriber_with_another_newsletter_stays(
    door: Door, clock: Clock, newsletter: Make
) -> None:
    await newsletter("offers")
    await door(imported(slug="offers"), sign_up())
    clock.advance(days=31)
    await sweep(door)
    assert [row["newsletter"] for row in await door.rows(tables.subscriptions)] == ["offers"]
    assert len(await door.rows(tables.subscribers)) == 1


async def test_whoever_comes_back_starts_a_chain_of_their_own(door: Door, clock: Clock) -> None:
    await door(sign_up())
    clock.advance(days=31)
    await sweep(door)
    await door(sign_up())
    assert await door.status() == "pending"
    assert answers(await door(await door.click(0), await door.click(1))) == [
        "link_expired",
        "confirmed",
    ]
    report = await door.verify()
    assert (report.subscriptions, report.broken) == (2, None)


async def test_the_mail_of_somebody_forgotten_is_never_sent(door: Door, clock: Clock) -> None:
    await door(sign_up())
    clock.advance(days=31)
    await sweep(door)
    assert await door.claim() == []
    assert [row["outcome"] for row in await door.rows(tables.outbox)] == ["gone"]
