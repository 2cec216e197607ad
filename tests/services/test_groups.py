"""Group commit: who shares a transaction, and who fails alone."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from unittest.mock import ANY

import pytest
from sqlalchemy.exc import IntegrityError

from app.db import tables
from app.domain.errors import Busy, Invalid, Unavailable
from app.services import groups
from app.services.commands import Answer, Command, Done, Result
from app.services.groups import Groups
from tests.conftest import Make
from tests.services.people import ANN, Door, imported, sign_up

pytestmark = pytest.mark.anyio


@dataclass
class Gate:
    """A stand-in for the database that commits when the test says so, and notes each list."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    lists: list[int] = field(default_factory=list)
    poison: Command | None = None
    fault: Exception | None = None

    async def __call__(self, commands: Sequence[Command]) -> list[Result]:
        self.lists.append(len(commands))
        self.entered.set()
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        if self.poison in commands:
            raise ZeroDivisionError
        return [Done(Answer.ACCEPTED) for _ in commands]


@pytest.fixture
def gate() -> Gate:
    return Gate()


def line_up(line: Groups, count: int) -> list["asyncio.Task[Done]"]:
    return [asyncio.create_task(line.submit(sign_up(f"{n}@example.org"))) for n in range(count)]


async def one_inside(line: Groups, gate: Gate) -> "asyncio.Task[Done]":
    first = asyncio.create_task(line.submit(sign_up("first@example.org")))
    await gate.entered.wait()
    return first


async def all_waiting() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_commands_during_a_transaction_form_the_next_list(gate: Gate) -> None:
    line = Groups(gate)
    first = await one_inside(line, gate)
    others = line_up(line, 700)
    await all_waiting()
    gate.open.set()
    await asyncio.gather(first, *others)
    assert gate.lists == [1, 256, 256, 188]


async def test_one_that_comes_alone_does_not_wait(gate: Gate) -> None:
    gate.open.set()
    line = Groups(gate)
    for _ in range(3):
        assert await line.submit(sign_up()) == Done(Answer.ACCEPTED)
    assert gate.lists == [1, 1, 1]


async def test_nobody_is_answered_before_the_commit(gate: Gate) -> None:
    line = Groups(gate)
    first = await one_inside(line, gate)
    await all_waiting()
    assert not first.done()
    gate.open.set()
    assert await first == Done(Answer.ACCEPTED)


async def test_a_poisonous_command_fails_alone(gate: Gate) -> None:
    line = Groups(gate)
    first = await one_inside(line, gate)
    others = line_up(line, 255)
    gate.poison = sign_up("poison@example.org")
    bad = asyncio.create_task(line.submit(gate.poison))
    await all_waiting()
    gate.open.set()
    results = await asyncio.gather(first, *others, bad, return_exceptions=True)
    assert results[:-1] == [Done(Answer.ACCEPTED)] * 256
    assert isinstance(results[-1], ZeroDivisionError)
    assert gate.lists == [1, 256] + [1] * 256


async def test_everybody_hears_that_the_database_is_away(gate: Gate) -> None:
    line = Groups(gate)
    first = await one_inside(line, gate)
    others = line_up(line, 10)
    await all_waiting()
    gate.fault = Unavailable("Away.")
    gate.open.set()
    results = await asyncio.gather(first, *others, return_exceptions=True)
    assert {type(result) for result in results} == {Unavailable}
    assert gate.lists == [1, 10]
    gate.fault = None
    assert await line.submit(sign_up()) == Done(Answer.ACCEPTED)


async def test_the_waiting_line_is_bounded(gate: Gate) -> None:
    line = Groups(gate)
    first = await one_inside(line, gate)
    others = line_up(line, groups.WAITING_LINE)
    await all_waiting()
    with pytest.raises(Busy):
        await line.submit(sign_up())
    gate.open.set()
    await asyncio.gather(first, *others)
    assert await line.submit(sign_up()) == Done(Answer.ACCEPTED)


async def test_closing_drains_the_line_and_then_refuses(gate: Gate) -> None:
    line = Groups(gate)
    first = await one_inside(line, gate)
    others = line_up(line, 300)
    await all_waiting()
    closing = asyncio.create_task(line.close())
    await all_waiting()
    with pytest.raises(Busy):
        await line.submit(sign_up())
    assert not closing.done()
    gate.open.set()
    await closing
    assert all(task.done() for task in (first, *others))
    assert gate.lists == [1, 256, 44]


async def test_a_line_that_nobody_used_closes_at_once(gate: Gate) -> None:
    await Groups(gate).close()


async def test_the_worker_is_told_once_for_each_commit(gate: Gate) -> None:
    told: list[bool] = []
    line = Groups(gate, lambda: told.append(gate.open.is_set()))
    first = await one_inside(line, gate)
    others = line_up(line, 20)
    await all_waiting()
    gate.open.set()
    await asyncio.gather(first, *others)
    assert told == [True, True]


async def test_nobody_is_told_of_what_was_not_committed(gate: Gate) -> None:
    gate.fault = Unavailable("Away.")
    gate.open.set()
    told: list[None] = []
    with pytest.raises(Unavailable):
        await Groups(gate, lambda: told.append(None)).submit(sign_up())
    assert told == []


@pytest.fixture
def line(door: Door) -> Groups:
    async def run(commands: Sequence[Command]) -> list[Result]:
        return await door(*commands)

    return Groups(run)


@pytest.mark.usefixtures("open_house")
async def test_a_caller_that_goes_away_does_not_undo_the_command(door: Door, line: Groups) -> None:
    waiting = asyncio.create_task(line.submit(sign_up()))
    await all_waiting()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await line.close()
    assert await door.status() == "pending"


@pytest.mark.usefixtures("open_house")
async def test_a_refusal_reaches_only_its_own_caller(door: Door, line: Groups) -> None:
    results = await asyncio.gather(
        *(line.submit(sign_up(f"{n}@example.org")) for n in range(5)),
        line.submit(sign_up(ANN, slug="nothing")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [Done] * 5 + [Invalid]
    assert await door.mails() == ["confirm"] * 5


@pytest.mark.usefixtures("open_house")
async def test_a_group_with_a_poisonous_command_leaves_all_others_committed(
    door: Door, line: Groups
) -> None:
    poison = sign_up("poison@example.org", name="\ud800")  # what no database can store
    results = await asyncio.gather(
        *(line.submit(sign_up(f"{n}@example.org")) for n in range(5)),
        line.submit(poison),
        return_exceptions=True,
    )
    assert [isinstance(result, Done) for result in results] == [True] * 5 + [False]
    assert await door.mails() == ["confirm"] * 5


@pytest.mark.usefixtures("newsletter")
async def test_a_group_that_loses_a_race_is_tried_again_alone(
    door: Door, newsletter: Make, policy: Make
) -> None:
    await newsletter()
    await policy()
    lists: list[int] = []

    async def run(commands: Sequence[Command]) -> list[Result]:
        lists.append(len(commands))
        if len(lists) == 1:
            await door(imported())  # somebody else commits the same address first
            raise IntegrityError("INSERT INTO subscribers", {}, ValueError())
        return await door(*commands)

    line = Groups(run)
    one, other = line.submit(sign_up()), line.submit(sign_up("bob@example.org"))
    assert list(await asyncio.gather(one, other)) == [Done(Answer.ACCEPTED, ANY)] * 2
    assert lists == [2, 1, 1]
    assert (await door.status(), await door.status("bob@example.org")) == ("confirmed", "pending")
    assert len(await door.rows(tables.subscribers)) == 2
