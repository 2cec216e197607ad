"""Mail, queued by SQL past the door."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.engine import Connection

from app.db import tables
from app.db.engine import Engine
from app.services.house import House
from tests.web import people
from tests.web.people import Person


@dataclass(frozen=True)
class Queue:
    """The outbox, as a test fills and reads it."""

    engine: Engine
    house: House

    async def put(
        self,
        email: str = "ann@example.org",
        newsletter: str = "insights",
        **values: Any,  # noqa: ANN401 - any column
    ) -> int:
        """Queue a mail to somebody who has just asked, and return its number."""
        return await self.engine.write(self._put, email, newsletter, values)

    def _put(
        self, connection: Connection, email: str, newsletter: str, values: dict[str, Any]
    ) -> int:
        now = self.house.clock()
        owner, subscription = self._subscription(connection, email, newsletter)
        row = {
            "kind": "confirm",
            "subscriber_id": owner,
            "subscription_id": subscription,
            "generation": 1,
            "sequence": 1,
            "priority": 0,
            "state": "held",
            "due_at": now,
            "created_at": now,
        }
        added = tables.outbox.insert().values({**row, **values}).returning(tables.outbox.c.id)
        number: int = connection.execute(added).scalar_one()
        return number

    def _subscription(
        self, connection: Connection, email: str, newsletter: str
    ) -> tuple[UUID, UUID]:
        s = tables.subscriptions
        joined = s.join(tables.subscribers).select().with_only_columns(s.c.subscriber_id, s.c.id)
        found = joined.where(tables.subscribers.c.email == email, s.c.newsletter == newsletter)
        row = connection.execute(found).first()
        if row is None:
            held: dict[str, tuple[str, datetime | None]] = {newsletter: ("pending", None)}
            person = Person(email, held, created_at=self.house.clock())
            people.insert(connection, [person], self.house)
            row = connection.execute(found).one()
        return row.subscriber_id, row.id

    async def row(self, message: int) -> dict[str, Any]:
        """Return a mail as it is stored."""
        t = tables.outbox

        def read(connection: Connection) -> dict[str, Any]:
            return dict(connection.execute(t.select().where(t.c.id == message)).mappings().one())

        return await self.engine.read(read)

    async def confirm(self) -> None:
        """Have everybody confirm who asked."""
        confirmed = tables.subscriptions.update().values(status="confirmed")
        await self.engine.write(lambda c: c.execute(confirmed).rowcount)

    def ago(self, **by: float) -> datetime:
        """Return a time in the past."""
        return self.house.clock() - timedelta(**by)
