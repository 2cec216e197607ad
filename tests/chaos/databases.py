"""What the chaos does to a database, and asks of it, from outside the service."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.engine import Connection, make_url

from app.db import transports
from app.db.engine import Engine, asyncpg_url, open_engine
from app.db.outbox import database_time
from app.db.tables import outbox, subscribers
from app.domain import address
from app.services import subscriptions
from app.services.commands import SignUp, Source, Unsubscribe
from app.services.house import House
from tests.chaos.loops import Loop

R = TypeVar("R")
LIST = 256
SETTLED = {"sent", "skipped", "failed", "held", "cancelled"}


@dataclass(frozen=True)
class Database:
    """One database of one installation, seen from outside."""

    url: str
    engine: Engine
    house: House
    loop: Loop

    def write(self, work: Callable[[Connection], R]) -> R:
        return self.loop.run(self.engine.write(work))

    def read(self, work: Callable[[Connection], R]) -> R:
        return self.loop.run(self.engine.read(work))

    def sign_up(self, emails: Sequence[str]) -> None:
        """Sign all of them up through the door, in lists as long as a group."""
        source = Source(method="api")
        for start in range(0, len(emails), LIST):
            batch = [
                SignUp(address=address.parse(email), source=source)
                for email in emails[start : start + LIST]
            ]
            self.write(lambda c, batch=batch: subscriptions.apply(c, batch, self.house))  # type: ignore[misc]

    def leave(self, emails: Collection[str]) -> None:
        """Let these unsubscribe."""
        rows = [row for row in self.mails() if row["email"] in emails]
        source = Source(method="one_click")
        leaving = [Unsubscribe(subscription=row["subscription_id"], source=source) for row in rows]
        self.write(lambda c: subscriptions.apply(c, leaving, self.house))

    def mails(self, *conditions: ColumnElement[bool]) -> list[dict[str, Any]]:
        """Return rows of the outbox, each with its address."""
        t = outbox.c
        joined = outbox.outerjoin(subscribers, subscribers.c.id == t.subscriber_id)
        statement = select(*t, subscribers.c.email).select_from(joined).where(*conditions)

        def fetch(connection: Connection) -> list[dict[str, Any]]:
            return [dict(row) for row in connection.execute(statement.order_by(t.id)).mappings()]

        return self.read(fetch)

    def states(self) -> Counter[str]:
        """Return how many mails are in each state."""
        counted = select(outbox.c.state, func.count()).group_by(outbox.c.state)
        found = self.read(lambda c: c.execute(counted).all())
        return Counter({row[0]: row[1] for row in found})

    def is_drained(self) -> bool:
        return not set(self.states()) - SETTLED

    def held_by(self, pid: int) -> set[int]:
        """Return the rows that a process has leased."""
        return {row["id"] for row in self.mails(outbox.c.state == "leased", _owner(pid))}

    def lapse(self, pid: int | None = None) -> set[int]:
        """Let the leases of a dead process run out now (of all, if none is named)."""
        leased = [outbox.c.state == "leased", *([] if pid is None else [_owner(pid)])]

        def run(connection: Connection) -> set[int]:
            past = database_time(connection) - timedelta(seconds=1)
            ended = update(outbox).where(*leased).values(lease_until=past)
            return set(connection.scalars(ended.returning(outbox.c.id)))

        return self.write(run)

    def overdue(self, seconds: float) -> int:
        """Return how many leases have run out for so long without being taken back."""

        def count(connection: Connection) -> int:
            limit = database_time(connection) - timedelta(seconds=seconds)
            late = (outbox.c.state == "leased", outbox.c.lease_until < limit)
            return len(connection.execute(select(outbox.c.id).where(*late)).all())

        return self.read(count)

    def hasten(self) -> None:
        """Make due now what waits for a later try, and end every rest of a transport."""

        def run(connection: Connection) -> None:
            now: datetime = database_time(connection)
            late = (outbox.c.state == "waiting", outbox.c.due_at > now)
            connection.execute(update(outbox).where(*late).values(due_at=now))
            for name in transports.read_all(connection):
                transports.resume(connection, name)
            if connection.dialect.name == "postgresql":
                connection.execute(text("NOTIFY newsletter_outbox"))

        self.write(run)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let nobody else write the outbox while inside; everybody can read."""
        if self.engine.dialect == "sqlite":
            with _locked_file(self.url):
                yield
            return
        connection = self.loop.run(_lock(self.url))
        try:
            yield
        finally:
            self.loop.run(connection.close())

    def is_waited_for(self) -> bool:
        """Tell whether somebody waits for the lock; SQLite does not know."""
        waiting = text("SELECT 1 FROM pg_locks WHERE NOT granted")
        if self.engine.dialect == "sqlite":
            return True
        return self.read(lambda c: c.execute(waiting).first()) is not None


def _owner(pid: int) -> ColumnElement[bool]:
    return outbox.c.leased_by.like(f"%:{pid}:%")


@contextmanager
def _locked_file(url: str) -> Iterator[None]:
    path = make_url(url).database or ""
    connection = sqlite3.connect(path, timeout=10, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


async def _lock(url: str) -> asyncpg.Connection:
    parsed = asyncpg_url(url)
    _, arguments = parsed.get_dialect()().create_connect_args(parsed)
    connection = await asyncpg.connect(**arguments)
    await connection.execute("BEGIN")
    async with asyncio.timeout(10):
        await connection.execute("LOCK TABLE outbox IN EXCLUSIVE MODE")
    return connection


@contextmanager
def seen(url: str, house: House, loop: Loop) -> Iterator[Database]:
    """Look at a database while inside."""
    database = Database(url, open_engine(url), house, loop)
    try:
        yield database
    finally:
        loop.run(database.engine.close())
