"""How a worker learns at once that there is new mail, on either database."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import asyncpg
from sqlalchemy.engine import make_url

from app.db.engine import asyncpg_url
from app.db.outbox import CHANNEL

_LOOK_EVERY = 0.05
_RECONNECT_AFTER = 1.0
_CONNECT_SECONDS = 10


class Wakeups(Protocol):
    """Something to wait on."""

    async def wait(self, seconds: float) -> None:
        """Return when there may be new mail, at the latest after some seconds."""
        ...

    def wake(self) -> None:
        """End the wait now."""
        ...


class _Bell:
    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def wake(self) -> None:
        """See Wakeups."""
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """See Wakeups."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        self._rung.clear()


@contextlib.asynccontextmanager
async def open_wakeups(database_url: str, listen_url: str | None) -> AsyncIterator[Wakeups]:
    """Watch the database while inside: LISTEN on PostgreSQL, `PRAGMA data_version` on SQLite.

    `listen_url` None on PostgreSQL means that nothing listens (a transaction pooler is between).
    """
    bell = _Bell()
    if database_url.startswith("sqlite"):
        watching = asyncio.create_task(_watch_file(make_url(database_url).database or "", bell))
    elif listen_url is not None:
        asyncpg_url(listen_url)  # a bad one is told now
        watching = asyncio.create_task(_listen(listen_url, bell))
    else:
        watching = asyncio.create_task(asyncio.sleep(0))
    try:
        yield bell
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch_file(path: str, bell: _Bell) -> None:
    with contextlib.closing(sqlite3.connect(Path(path), isolation_level=None)) as connection:
        seen = None
        while True:
            with contextlib.suppress(sqlite3.Error):  # busy: look again
                (version,) = connection.execute("PRAGMA data_version").fetchone()
                if version != seen:
                    seen = version
                    bell.wake()
            await asyncio.sleep(_LOOK_EVERY)


async def _listen(url: str, bell: _Bell) -> None:
    """Keep one connection listening; each new one wakes once for what was missed."""
    while True:
        # However it ended: until the next connection listens, the worker's poll finds the mail.
        with contextlib.suppress(Exception):
            await _listen_once(url, bell)
        await asyncio.sleep(_RECONNECT_AFTER)


async def _listen_once(url: str, bell: _Bell) -> None:
    parsed = asyncpg_url(url)
    _, arguments = parsed.get_dialect()().create_connect_args(parsed)
    connection = await asyncpg.connect(timeout=_CONNECT_SECONDS, **arguments)
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    try:
        await connection.add_listener(CHANNEL, lambda *_: bell.wake())
        bell.wake()
        await lost.wait()
    finally:
        await connection.close(timeout=1)
