"""Two processes at one PostgreSQL: the same people at the same time, in opposite orders."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.exc import IntegrityError

from app.db import tables
from app.db.engine import Engine, open_engine
from app.services import subscriptions
from app.services.commands import Command
from app.services.house import House
from tests.conftest import Clock
from tests.services.people import Door, imported, sign_up

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("open_house"),
    pytest.mark.parametrize("database", ["postgresql"], indirect=True),
]

PEOPLE = [f"{number}@example.org" for number in range(50)]
ROUNDS = 20


@pytest.fixture
async def other(database: str) -> AsyncIterator[Engine]:
    opened = open_engine(database)
    yield opened
    await opened.close()


async def both(door: Door, other: Engine, mine: list[Command], theirs: list[Command]) -> None:
    await asyncio.gather(door(*mine), other.write(subscriptions.apply, theirs, door.house))


async def test_opposite_orders_do_not_deadlock_and_nobody_is_mailed_twice(
    door: Door, other: Engine
) -> None:
    for round_ in range(ROUNDS):
        people = PEOPLE if round_ % 2 else PEOPLE[25:]
        mine: list[Command] = [sign_up(email) for email in people]
        theirs: list[Command] = [sign_up(email) for email in reversed(PEOPLE)]
        await both(door, other, mine, theirs)
    assert len(await door.rows(tables.subscribers)) == 50
    assert await door.mails() == ["confirm"] * 50
    assert (await door.verify()).broken is None


async def test_changes_of_the_same_people_wait_for_each_other(
    door: Door, other: Engine, clock: Clock
) -> None:
    await door(*(sign_up(email, name="Ann") for email in PEOPLE))
    clicks: list[Command] = [door.read(token) for token in await door.links()]
    leaves: list[Command] = [await door.leave(email) for email in PEOPLE]
    clock.advance(minutes=20)
    again: list[Command] = [sign_up(email) for email in PEOPLE]
    for _ in range(5):
        await both(door, other, [*clicks, *again], [*reversed(leaves), *reversed(clicks)])
    rows = await door.rows(tables.subscriptions)
    assert len({row["status"] for row in rows}) == 1
    assert (await door.verify()).broken is None


async def test_whoever_loses_a_race_for_a_new_address_is_told_and_changes_nothing(
    door: Door, other: Engine, house: House
) -> None:
    # An import locks no budget, so only the unique address stops the second one.
    lists: list[list[Command]] = [[imported(email) for email in order] for order in twice(PEOPLE)]
    results = await asyncio.gather(
        door(*lists[0]),
        other.write(subscriptions.apply, lists[1], house),
        return_exceptions=True,
    )
    assert [type(r) for r in results if isinstance(r, Exception)] in ([], [IntegrityError])
    assert len(await door.rows(tables.subscribers)) == 50
    assert len(await door.kinds()) == 50
    assert (await door.verify()).broken is None


def twice(people: list[str]) -> tuple[list[str], list[str]]:
    return people, people[::-1]
