"""Two processes at one PostgreSQL are told the same at the same time."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.db import tables
from app.db.engine import Engine, open_engine
from app.domain.feedback import Happened, Report
from tests.conftest import Clock
from tests.services.letters import bounced_softly, mailed, receive, told
from tests.services.people import Door, sign_up

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("open_house"),
    pytest.mark.parametrize("database", ["postgresql"], indirect=True),
]

ROUNDS = 10


@pytest.fixture
async def other(database: str) -> AsyncIterator[Engine]:
    opened = open_engine(database)
    yield opened
    await opened.close()


async def both(door: Door, other: Engine, mine: list[Report], theirs: list[Report]) -> int:
    return sum(await asyncio.gather(receive(door, *mine), receive(door, *theirs, engine=other)))


async def test_the_same_events_in_opposite_orders_count_once(
    door: Door, other: Engine, clock: Clock
) -> None:
    people = [f"{number}@example.org" for number in range(30)]
    await door(*map(sign_up, people))
    for kind in (Happened.HARD_BOUNCE, Happened.COMPLAINT) * (ROUNDS // 2):
        mails = [await mailed(door, email) for email in people]
        events = [told(kind, clock.now, mail) for mail in mails]
        assert await both(door, other, events, events[::-1]) == len(events)
    assert sorted(await door.reasons()) == ["complaint"] * 30 + ["hard_bounce"] * 30
    assert (await door.kinds()).count("withdrawn") == 30
    assert (await door.verify()).broken is None


async def test_different_events_about_the_same_people_do_not_deadlock(
    door: Door, other: Engine, clock: Clock
) -> None:
    people = [f"{number}@example.org" for number in range(30)]
    await door(*map(sign_up, people))
    for _ in range(ROUNDS):
        mails = [await mailed(door, email) for email in people]
        mine = [told(Happened.HARD_BOUNCE, clock.now, mail) for mail in mails]
        theirs = [told(Happened.COMPLAINT, clock.now, mail) for mail in mails[::-1]]
        assert await both(door, other, mine, theirs) == 60
    assert len(await door.rows(tables.feedback_events)) == 60 * ROUNDS


async def test_soft_bounces_told_to_two_at_once_see_each_other(door: Door, other: Engine) -> None:
    people = [f"{number}@example.org" for number in range(ROUNDS)]
    await door(*map(sign_up, people))
    for email in people:
        events = await bounced_softly(door, 5, email, hours=1)
        await receive(door, *events[:3])
        await both(door, other, events[3:4], events[4:])
    assert await door.reasons() == ["hard_bounce"] * ROUNDS
