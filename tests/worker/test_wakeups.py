import asyncio
from collections.abc import Callable

import asyncpg
import pytest

from app.db.wakeups import Wakeups, open_wakeups
from app.services import outbox
from app.worker import deliver
from tests.worker.stage import Frail, Scripted, Stage, eventually

pytestmark = pytest.mark.anyio

LISTENERS = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the one-second poll away, so that only a wake-up can wake a worker."""
    monkeypatch.setattr(deliver, "IDLE_SECONDS", 600.0)


async def _first_call(wakeups: Wakeups) -> None:
    """Use up the call that every new watch begins with."""
    async with asyncio.timeout(10):
        await wakeups.wait(600)


async def test_a_commit_with_mail_ends_the_wait(stage: Stage) -> None:
    async with open_wakeups(stage.url, stage.url) as wakeups, asyncio.timeout(10):
        await _first_call(wakeups)
        waiting = asyncio.create_task(wakeups.wait(600))
        await stage.ask("ann@example.org")
        await waiting


async def test_a_wait_ends_by_itself_when_nothing_happens(stage: Stage) -> None:
    async with open_wakeups(stage.url, None) as wakeups, asyncio.timeout(10):
        await wakeups.wait(0.01)
        await wakeups.wait(0.01)


async def test_a_call_during_work_is_not_forgotten(stage: Stage) -> None:
    async with open_wakeups(stage.url, None) as wakeups, asyncio.timeout(10):
        wakeups.wake()
        await wakeups.wait(600)


@pytest.mark.usefixtures("patient")
async def test_a_sleeping_worker_sends_new_mail_at_once(stage: Stage, transport: Scripted) -> None:
    claims: list[object] = []

    def count(work: Callable[..., object]) -> None:
        if work is outbox.claim:
            claims.append(work)

    async with stage.working(transport, Frail(stage.engine, before=count)):
        await eventually(lambda: claims)
        await stage.ask("ann@example.org")
        await eventually(lambda: transport.tried, within=5)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_a_listener_that_was_cut_off_comes_back_and_claims_what_it_missed(
    stage: Stage, transport: Scripted
) -> None:
    async with stage.working(transport):
        await _cut_off_listeners(stage.url)
        await stage.ask("ann@example.org")
        await eventually(lambda: transport.tried, within=10)
        await stage.ask("bob@example.org")
        await eventually(lambda: len(transport.tried) == 2, within=5)
    assert transport.recipients == ["ann@example.org", "bob@example.org"]


async def _cut_off_listeners(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await eventually(lambda: connection.fetch(f"SELECT pg_terminate_backend(pid) {LISTENERS}"))
        await eventually(lambda: _is_empty(connection, f"SELECT pid {LISTENERS}"))
    finally:
        await connection.close()


async def _is_empty(connection: asyncpg.Connection, statement: str) -> bool:
    return not await connection.fetch(statement)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_behind_a_transaction_pooler_the_poll_finds_new_mail(
    stage: Stage, transport: Scripted
) -> None:
    delivery = deliver.Delivery(stage.engine, stage.house, transport, "poller")
    stop = asyncio.Event()
    async with open_wakeups(stage.url, None) as wakeups:
        running = asyncio.create_task(delivery.run(wakeups, stop))
        await stage.ask("ann@example.org")
        await eventually(lambda: transport.tried, within=5)
        stop.set()
        await asyncio.wait_for(running, 10)
