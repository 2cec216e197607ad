"""What the worker's tests play with: people, a transport that follows a script, a frail engine."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy.engine import Connection

from app.db import tables
from app.db.engine import Engine
from app.db.leases import Lease
from app.db.wakeups import open_wakeups
from app.domain import address
from app.domain.errors import Unavailable
from app.domain.retry import Outcome, Verdict
from app.mail.message import Message
from app.mail.transport import Transport
from app.services import outbox, subscriptions
from app.services.commands import Confirm, SignUp, Source, Unsubscribe
from app.services.house import House
from app.services.outbox import Tried
from app.worker.deliver import Delivery

P = ParamSpec("P")
R = TypeVar("R")

PAGE = Source(method="page")
PATIENCE = 15.0


async def eventually(is_true: Callable[[], object], within: float = PATIENCE) -> None:
    """Wait until the condition, which may be a coroutine, holds; fail after the deadline."""
    async with asyncio.timeout(within):
        while True:
            answer = is_true()
            if await answer if inspect.isawaitable(answer) else answer:
                return
            await asyncio.sleep(0.01)


@dataclass
class Scripted:
    """A transport that says what the script has for a recipient, and else that all is well.

    Of several verdicts each is given once. Every message is on the wire for `pace` seconds, and
    as long as `gate` is closed if its recipient contains `slow`.
    """

    connections: int = 2
    name: str = "scripted"
    script: dict[str, list[Verdict]] = field(default_factory=dict)
    tried: list[Message] = field(default_factory=list)
    on_wire: list[str] = field(default_factory=list)
    most_on_wire: int = 0
    pace: float = 0.0
    slow: str = "@"
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def send(self, message: Message) -> Verdict:
        self.tried.append(message)
        self.on_wire.append(message.recipient)
        self.most_on_wire = max(self.most_on_wire, len(self.on_wire))
        try:
            await asyncio.sleep(self.pace)
            if self.slow in message.recipient:
                await self.gate.wait()
        finally:
            self.on_wire.remove(message.recipient)
        planned = self.script.get(message.recipient)
        return planned.pop(0) if planned else Verdict(Outcome.SENT)

    async def close(self) -> None:
        """Hold nothing open."""

    @property
    def recipients(self) -> list[str]:
        return [message.recipient for message in self.tried]


@dataclass
class Frail:
    """An engine in front of a real one: `away` it is, or it lets `before` happen first."""

    engine: Engine
    dialect: str = ""
    away: bool = False
    refused: int = 0
    before: Callable[[Callable[..., object]], object] = lambda _: None
    after: Callable[[Callable[..., object]], object] = lambda _: None

    async def write(
        self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        self.before(work)
        if self.away:
            self.refused += 1
            raise Unavailable("The database is away.")
        result = await self.engine.write(work, *args, **kwargs)
        answer = self.after(work)
        if isinstance(answer, asyncio.Event):
            await answer.wait()
        return result

    write_one = write

    async def read(
        self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        return await self.engine.read(work, *args, **kwargs)

    async def close(self) -> None:
        """Leave it to the owner of the real one."""


@dataclass(frozen=True)
class Stage:
    """A database with an open newsletter, seen by workers and by the test."""

    engine: Engine
    house: House
    url: str

    async def ask(self, *emails: str) -> None:
        """Sign these addresses up; each is owed a confirmation mail."""
        source = Source(method="api")
        commands = [SignUp(address=address.parse(email), source=source) for email in emails]
        await self.engine.write(subscriptions.apply, commands, self.house)

    async def confirm(self, *emails: str) -> None:
        """Confirm these; each is owed a welcome."""
        rows = [await self.mail(email, "confirm") for email in emails]
        commands = [
            Confirm(
                subscription=row["subscription_id"],
                generation=row["generation"],
                sequence=row["sequence"],
                expired=False,
                source=PAGE,
            )
            for row in rows
        ]
        await self.engine.write(subscriptions.apply, commands, self.house)

    async def leave(self, email: str) -> None:
        row = await self.mail(email)
        command = Unsubscribe(subscription=row["subscription_id"], source=PAGE)
        await self.engine.write(subscriptions.apply, [command], self.house)

    async def run(self, work: Callable[[Connection], R]) -> R:
        """Do something in one transaction."""
        return await self.engine.write(work)

    async def mails(self) -> list[dict[str, Any]]:
        """Return the outbox with each mail's address."""
        t = tables.outbox
        joined = t.outerjoin(
            tables.subscribers, tables.subscribers.c.id == t.c.subscriber_id
        ).select()
        statement = joined.with_only_columns(*t.c, tables.subscribers.c.email).order_by(t.c.id)

        def read(connection: Connection) -> list[dict[str, Any]]:
            return [dict(row) for row in connection.execute(statement).mappings()]

        return await self.engine.read(read)

    async def mail(self, email: str, kind: str | None = None) -> dict[str, Any]:
        """Return the newest mail to somebody."""
        mails = await self.mails()
        return [m for m in mails if m["email"] == email and kind in {None, m["kind"]}][-1]

    async def states(self) -> dict[str, str]:
        """Return the state of the newest mail to each address."""
        return {mail["email"]: mail["state"] for mail in await self.mails()}

    async def is_sent(self, email: str) -> bool:
        return (await self.states()).get(email) == "sent"

    async def are_leased(self, count: int) -> bool:
        """Tell whether so many mails are in somebody's hands."""
        return list((await self.states()).values()).count("leased") == count

    async def pause(self) -> dict[str, Any]:
        """Return the row of the transport; empty if it has none."""

        def read(connection: Connection) -> list[dict[str, Any]]:
            return [dict(r) for r in connection.execute(tables.transports.select()).mappings()]

        return next(iter(await self.engine.read(read)), {})

    async def claim(self, worker: str = "one", limit: int = 500) -> list[Lease]:
        hand = await self.engine.write(outbox.claim, self.house, worker, "scripted", limit)
        return hand.leases

    async def settle(self, lease: Lease, outcome: Outcome) -> None:
        tried = Tried(lease, Verdict(outcome))
        await self.engine.write(outbox.settle, self.house, "scripted", [tried])

    async def deliver(self, transport: Transport, engine: Engine | None = None) -> None:
        """Run a worker until nothing is due."""
        delivery = Delivery(engine or self.engine, self.house, transport, "idle-worker")
        async with open_wakeups(self.url, None) as wakeups, asyncio.timeout(PATIENCE):
            await delivery.run(wakeups, asyncio.Event(), until_idle=True)

    @asynccontextmanager
    async def working(
        self, transport: Transport, engine: Engine | None = None, name: str = "worker"
    ) -> AsyncIterator[asyncio.Event]:
        """Have a worker running while inside; setting the event stops it."""
        delivery = Delivery(engine or self.engine, self.house, transport, name)
        stop = asyncio.Event()
        async with open_wakeups(self.url, self.url) as wakeups:
            running = asyncio.create_task(delivery.run(wakeups, stop))
            try:
                yield stop
            finally:
                stop.set()
                await asyncio.wait_for(running, PATIENCE)


def people(count: int) -> Sequence[str]:
    return [f"reader{number}@example.org" for number in range(count)]
