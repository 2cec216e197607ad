import asyncio
from collections.abc import Callable

import pytest

from app.services import outbox
from app.worker import deliver, hands
from tests.worker.stage import Frail, Scripted, Stage, eventually, people

pytestmark = pytest.mark.anyio


async def test_never_more_than_a_hundred_answers_are_unsettled(stage: Stage) -> None:
    transport = Scripted(connections=30)
    transport.gate.clear()
    frail = Frail(stage.engine)
    await stage.ask(*people(250))
    async with stage.working(transport, frail):
        await eventually(lambda: stage.are_leased(250))
        frail.away = True
        transport.gate.set()
        await eventually(lambda: frail.refused and not transport.on_wire)
        assert len(transport.tried) == hands.UNSETTLED
        frail.away = False
        await eventually(lambda: len(transport.tried) == 250)
    assert set((await stage.states()).values()) == {"sent"}
    assert len(set(transport.recipients)) == 250


async def test_answers_are_written_while_other_mail_is_still_on_the_wire(
    stage: Stage, transport: Scripted
) -> None:
    transport.connections = 2
    transport.slow = "slow@example.org"
    transport.gate.clear()
    await stage.ask("slow@example.org", "quick@example.org")
    async with stage.working(transport):
        await eventually(lambda: stage.is_sent("quick@example.org"))
        assert transport.on_wire == ["slow@example.org"]
        transport.gate.set()


async def test_answers_survive_a_database_that_is_away_and_are_written_before_the_next_claim(
    stage: Stage, transport: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "AGAIN_SECONDS", 0.02)
    order: list[Callable[..., object]] = []
    frail = Frail(stage.engine, before=order.append)
    transport.gate.clear()
    await stage.ask("ann@example.org")
    async with stage.working(transport, frail):
        await eventually(lambda: transport.on_wire)
        frail.away = True
        transport.gate.set()
        await eventually(lambda: frail.refused >= 3)
        await stage.ask("bob@example.org")
        assert (await stage.states())["ann@example.org"] == "leased"
        order.clear()
        frail.away = False
        await eventually(lambda: stage.is_sent("bob@example.org"))
    settles = [order.index(work) for work in (outbox.settle, outbox.settle_sent) if work in order]
    assert min(settles) < order.index(outbox.claim)
    assert transport.recipients == ["ann@example.org", "bob@example.org"]
    assert (await stage.mail("ann@example.org"))["attempts"] == 1


async def test_a_worker_that_cannot_claim_goes_on_as_soon_as_it_can(
    stage: Stage, transport: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "AGAIN_SECONDS", 0.02)
    frail = Frail(stage.engine, away=True)
    await stage.ask("ann@example.org")
    async with stage.working(transport, frail):
        await eventually(lambda: frail.refused >= 2)
        frail.away = False
        await eventually(lambda: stage.is_sent("ann@example.org"))


async def test_more_mail_than_a_slow_server_takes_leaves_the_worker_awake(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "SECONDS_IN_HAND", 0.05)
    transport = Scripted(connections=4)
    transport.gate.clear()
    await stage.ask(*people(6))
    async with stage.working(transport):
        await eventually(lambda: len(transport.on_wire) == 4)
        await asyncio.sleep(0.2)  # until what waits has waited for too long
        transport.gate.set()
        await eventually(lambda: len(transport.tried) == 6)
