"""Too many confirmation mails, or too few that are answered: they wait, and none is lost."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update
from structlog.testing import capture_logs

from app.db import tables
from app.db.engine import Engine
from app.db.outbox import State
from app.domain.breaker import ANSWER_WITHIN, SAMPLE
from app.domain.rate import Rate
from app.services import breakers, outbox
from app.services.house import House
from tests.conftest import Clock
from tests.services.people import Door, answers, sign_up

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]

HOURLY = Rate(60, 3_600)
o = tables.outbox


@pytest.fixture
def house(house: House) -> House:
    return replace(house, confirm_rate=HOURLY)


async def crowd(door: Door, first: int, count: int) -> None:
    people = [f"reader{number}@example.org" for number in range(first, first + count)]
    assert set(answers(await door(*map(sign_up, people)))) == {"accepted"}


async def waits(door: Door) -> list[int]:
    """Return the minutes that each mail has to wait from now on, in their order."""
    now = door.house.clock()
    rows = [row for row in await door.rows(o, o.c.id) if row["state"] == State.WAITING]
    return [max(0, round((row["due_at"] - now) / timedelta(minutes=1))) for row in rows]


async def judge(door: Door) -> list[str]:
    with capture_logs() as logs:
        await door.engine.write(breakers.judge, door.house)
    return [entry["event"] for entry in logs]


async def warning(door: Door) -> str | None:
    return await door.engine.read(breakers.warning, door.house)


async def send(door: Door) -> None:
    """Send what is due."""
    now = door.house.clock()
    due = update(o).where(o.c.state == "waiting", o.c.due_at <= now)
    sent: dict[str, Any] = {"state": "sent", "settled_at": now}
    await door.engine.write(lambda c: c.execute(due.values(**sent)).rowcount)


async def test_what_is_within_the_rate_goes_at_once(door: Door) -> None:
    await crowd(door, 0, 60)
    assert await waits(door) == [0] * 60
    assert await judge(door) == []
    assert await warning(door) is None


async def test_what_is_too_much_waits_in_line_and_the_log_says_so_once(
    door: Door, clock: Clock
) -> None:
    await crowd(door, 0, 62)
    await crowd(door, 62, 1)
    assert await waits(door) == [0] * 60 + [1, 2, 3]
    assert [m["outcome"] for m in await door.rows(o, o.c.id)][-4:] == [None] + ["held back"] * 3
    assert "more than 60/h were asked for" in str(await warning(door))
    assert await judge(door) == ["confirm_mails_wait"]
    assert await judge(door) == []
    clock.advance(minutes=3)
    assert await waits(door) == [0] * 63
    assert await warning(door) is None
    assert await judge(door) == ["confirm_mails_flow"]
    assert await judge(door) == []


async def test_only_confirmation_mails_count(door: Door) -> None:
    await crowd(door, 0, 60)
    await door(await door.click())
    assert (await door.mails())[-1] == "welcome"
    assert await waits(door) == [0] * 61


async def test_a_claim_takes_what_waited_when_its_time_has_come(door: Door, clock: Clock) -> None:
    await crowd(door, 0, 61)
    await send(door)
    clock.advance(seconds=59)
    assert await door.claim() == []
    clock.advance(seconds=1)
    [last] = await door.claim()
    assert last.email == "reader60@example.org"


async def test_two_processes_share_the_line(door: Door, engine: Engine) -> None:
    other = Door(engine, replace(door.house))
    for number in range(6):
        await crowd(door if number % 2 else other, number * 20, 20)
    assert await waits(door) == [0] * 60 + list(range(1, 61))


async def test_another_rate_gives_new_times_to_what_waits(door: Door) -> None:
    await crowd(door, 0, 180)
    assert (await waits(door))[-1] == 120
    quicker = Door(door.engine, replace(door.house, confirm_rate=Rate(100, 3_600)))
    await judge(quicker)
    assert await waits(quicker) == [0] * 60 + [12] * 120
    none = Door(door.engine, replace(door.house, confirm_rate=None))
    await judge(none)
    assert await waits(none) == [0] * 180


async def test_a_human_lets_it_all_go(door: Door) -> None:
    await crowd(door, 0, 62)
    assert await door.engine.write(outbox.resume, door.house, "smtp") == []
    assert await door.engine.write(outbox.resume, door.house, None) == ["confirm"]
    assert await waits(door) == [0] * 62
    assert await warning(door) is None
    assert await door.engine.write(outbox.resume, door.house, None) == []


async def confirm_some(door: Door, count: int) -> None:
    for token in (await door.links())[:count]:
        await door(door.read(token))


@pytest.fixture
def wide(door: Door) -> Door:
    """A door whose rate alone lets everything through."""
    return Door(door.engine, replace(door.house, confirm_rate=Rate(1_000, 3_600)))


async def test_while_hardly_anybody_confirms_mail_goes_slowly_and_then_as_before(
    wide: Door, clock: Clock
) -> None:
    await crowd(wide, 0, SAMPLE)
    await send(wide)
    assert await judge(wide) == []
    clock.advance(minutes=30)
    assert await judge(wide) == ["confirm_mails_wait"]
    assert "hardly anybody confirms" in str(await warning(wide))
    await crowd(wide, SAMPLE, 30)
    assert await waits(wide) == [0] * 10 + [6 * n for n in range(1, 21)]
    await send(wide)
    await confirm_some(wide, 15)
    assert await judge(wide) == [], "7 % are not enough to go on as before"
    await confirm_some(wide, 20)
    assert await judge(wide) == ["confirm_mails_flow"]
    assert await warning(wide) is None
    assert [w for w in await waits(wide) if w] == []


async def test_a_day_after_the_flood_it_closes_by_itself(wide: Door, clock: Clock) -> None:
    await crowd(wide, 0, SAMPLE)
    await send(wide)
    clock.advance(minutes=30)
    assert await judge(wide) == ["confirm_mails_wait"]
    clock.advance(days=1)
    assert await judge(wide) == ["confirm_mails_flow"]
    assert await warning(wide) is None


@pytest.mark.parametrize("confirmed", [10, 100])
async def test_a_healthy_newsletter_is_left_alone(wide: Door, clock: Clock, confirmed: int) -> None:
    await crowd(wide, 0, SAMPLE)
    await send(wide)
    await confirm_some(wide, confirmed)
    clock.now += ANSWER_WITHIN
    assert await judge(wide) == []
    assert await warning(wide) is None


async def test_nothing_is_lost(wide: Door, clock: Clock) -> None:
    door = Door(wide.engine, replace(wide.house, confirm_rate=HOURLY))
    await crowd(door, 0, 200)
    seen: set[str] = set()
    for _ in range(200):
        seen |= {lease.email for lease in await door.claim()}
        await judge(door)
        clock.advance(minutes=1)
    assert len(seen) == 200
    statement = select(func.count()).select_from(tables.consent_events)
    assert await door.engine.read(lambda c: c.scalar(statement)) == 200
