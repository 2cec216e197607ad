import asyncio
from datetime import timedelta

import pytest

from app.db.wakeups import open_wakeups
from app.domain.errors import Unavailable
from app.domain.retry import Outcome, Verdict
from app.services import outbox
from app.worker import deliver, hands
from app.worker.loop import Worker, worker_name
from tests.worker.stage import Frail, Scripted, Stage, eventually, people

pytestmark = pytest.mark.anyio


async def test_a_stopped_worker_finishes_what_is_on_the_wire_and_gives_back_the_rest(
    stage: Stage, transport: Scripted
) -> None:
    transport.gate.clear()
    await stage.ask(*people(7))
    async with stage.working(transport) as stop:
        await eventually(lambda: len(transport.on_wire) == 2)
        stop.set()
        await asyncio.sleep(0.05)  # until the stop is noticed; nothing shows it from outside
        transport.gate.set()
    states = list((await stage.states()).values())
    assert (states.count("sent"), states.count("waiting")) == (2, 5)
    assert len(transport.tried) == 2
    assert {mail["expirations"] for mail in await stage.mails()} == {0}
    assert len(await stage.claim("next")) == 5


async def test_an_idle_worker_stops_at_once(
    stage: Stage, transport: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "IDLE_SECONDS", 600.0)
    async with stage.working(transport) as stop:
        stop.set()


async def test_what_is_still_on_the_wire_at_the_deadline_may_have_been_sent(
    stage: Stage, transport: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "DRAIN_SECONDS", 0.1)
    transport.gate.clear()
    await stage.ask("ann@example.org")
    async with stage.working(transport):
        await eventually(lambda: transport.on_wire)
    mail = await stage.mail("ann@example.org")
    assert (mail["state"], mail["outcome"]) == ("waiting", "unknown Stopped")
    assert (mail["attempts"], mail["expirations"]) == (1, 0)
    assert transport.on_wire == []


async def test_a_stopped_worker_waits_for_the_database_to_write_what_was_sent(
    stage: Stage, transport: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "AGAIN_SECONDS", 0.02)
    frail = Frail(stage.engine)
    transport.gate.clear()
    await stage.ask(*people(2))
    async with stage.working(transport, frail) as stop:
        await eventually(lambda: len(transport.on_wire) == 2)
        frail.away = True
        stop.set()
        transport.gate.set()
        await eventually(lambda: frail.refused >= 3 and not transport.on_wire)
        frail.away = False
    assert set((await stage.states()).values()) == {"sent"}


async def test_the_stop_may_come_with_the_answer_that_makes_them_many(
    stage: Stage, transport: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "SETTLE_EVERY", 600.0)
    transport.connections, transport.slow = hands.MANY, "reader0@"
    transport.gate.clear()
    await stage.ask(*people(hands.MANY))
    async with stage.working(transport) as stop:
        await eventually(lambda: transport.on_wire == ["reader0@example.org"])
        stop.set()
        await asyncio.sleep(0.05)  # until the stop is noticed; nothing shows it from outside
        transport.gate.set()
    assert set((await stage.states()).values()) == {"sent"}


async def test_a_failure_in_the_last_moment_is_settled_too(
    stage: Stage, transport: Scripted
) -> None:
    transport.script["ann@example.org"] = [Verdict(Outcome.RETRY_RECIPIENT, "450")]
    transport.gate.clear()
    await stage.ask("ann@example.org")
    async with stage.working(transport) as stop:
        await eventually(lambda: transport.on_wire)
        stop.set()
        transport.gate.set()
    mail = await stage.mail("ann@example.org")
    assert (mail["state"], mail["outcome"]) == ("waiting", "retry_recipient 450")


class Farewell(Scripted):
    closed = False

    async def close(self) -> None:
        self.closed = True


async def test_a_whole_worker_sweeps_delivers_and_closes_its_transport(stage: Stage) -> None:
    transport = Farewell()
    stop = asyncio.Event()
    await stage.ask("ann@example.org")
    async with open_wakeups(stage.url, None) as wakeups:
        worker = Worker(stage.engine, stage.house, transport, wakeups, timedelta(days=30))
        running = asyncio.create_task(worker.run(stop))
        await eventually(lambda: transport.tried)
        stop.set()
        await asyncio.wait_for(running, 10)
    assert transport.closed
    assert await stage.states() == {"ann@example.org": "sent"}


def test_no_two_workers_have_the_same_name() -> None:
    assert worker_name() != worker_name()


async def test_a_database_that_hangs_does_not_keep_a_worker_from_ending(
    stage: Stage, transport: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "CLAIM_SECONDS", 0.1)
    monkeypatch.setattr(deliver, "DRAIN_SECONDS", 0.3)
    monkeypatch.setattr(deliver, "IDLE_SECONDS", 0.01)
    hanging = Frail(stage.engine)
    never = asyncio.Event()
    hanging.after = lambda work: never if work is outbox.claim else None
    async with asyncio.timeout(10), stage.working(transport, hanging) as stop:
        await asyncio.sleep(0.1)  # until the first claim hangs; nothing shows it from outside
        stop.set()


async def test_what_a_rest_gives_back_is_given_back_though_it_fails_once(
    stage: Stage, transport: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "AGAIN_SECONDS", 0.02)
    frail = Frail(stage.engine)
    failed: list[object] = []

    def fail_once(work: object) -> None:
        if work is outbox.give_back and not failed:
            failed.append(work)
            raise Unavailable("This alone does not work.")

    frail.before = fail_once
    transport.connections = 1
    transport.pace = 0.04
    transport.script = {email: [Verdict(Outcome.RETRY_TRANSPORT, "421")] for email in people(9)}
    await stage.ask(*people(9))
    async with stage.working(transport, frail):
        await eventually(lambda: failed)
        await eventually(lambda: stage.are_leased(0))
    assert len(transport.tried) < 9
    assert set((await stage.states()).values()) == {"waiting"}
