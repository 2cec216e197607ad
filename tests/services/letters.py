"""Mail that was sent, without a worker, and what is told of it."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from app.db import tables
from app.db.engine import Engine
from app.domain.feedback import Happened, Report
from app.services import feedback
from tests.services.people import ANN, Door


async def mailed(door: Door, email: str = ANN, **values: Any) -> int:  # noqa: ANN401 - any column
    """Return the id of a mail to somebody, sent unless the values say otherwise."""
    who = tables.subscribers
    found = select(who.c.id).where(who.c.email == email)
    row = {
        "kind": "welcome",
        "subscription_id": (await door.joined(email)).get("id"),
        "generation": 1,
        "priority": 1,
        "state": "sent",
        "attempts": 1,
        "due_at": door.house.clock(),
        "created_at": door.house.clock(),
        **values,
    }

    def write(connection: Connection) -> int:
        named = {"subscriber_id": connection.scalar(found), **row}
        made = connection.execute(insert(tables.outbox).values(named).returning(tables.outbox.c.id))
        return int(made.scalar_one())

    return await door.engine.write(write)


def told(
    kind: Happened,
    at: datetime,
    outbox_id: int | None = None,
    **values: Any,  # noqa: ANN401
) -> Report:
    """Return a report with an event id of its own, unless the values have one."""
    fixed = {"provider": "test", "event_id": uuid4().hex}
    return Report(kind=kind, at=at, outbox_id=outbox_id, **(fixed | values))


async def receive(door: Door, *reports: Report, engine: Engine | None = None) -> int:
    return await (engine or door.engine).write(feedback.receive, door.house, reports)


async def bounced_softly(door: Door, times: int, email: str = ANN, **ago: float) -> list[Report]:
    """Return soft bounces of so many mails to somebody, a second apart from each other."""
    first = door.house.clock() - timedelta(**ago)
    ids = [await mailed(door, email) for _ in range(times)]
    return [
        told(Happened.SOFT_BOUNCE, first + timedelta(seconds=n), outbox_id)
        for n, outbox_id in enumerate(ids)
    ]
