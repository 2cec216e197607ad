"""The outbox: one row per message, written with the change that made it necessary."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    func,
    literal,
    null,
    or_,
    select,
    text,
    update,
)

from app.db import bulk
from app.db.leases import Lease
from app.db.tables import outbox as t

CHANNEL = "newsletter_outbox"


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a message that we hold."""

    lease: Lease
    state: str
    outcome: str
    provider_id: str | None = None
    due_at: datetime | None = None


def add(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Queue messages and wake a worker when this commits."""
    bulk.insert(connection, t, rows)
    if rows and connection.dialect.name == "postgresql":
        connection.execute(text(f"NOTIFY {CHANNEL}"))


def database_time(connection: Connection) -> datetime:
    """Return the clock that all workers share; on SQLite they share the host's."""
    if connection.dialect.name == "postgresql":
        now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return now
    return datetime.now(UTC)


_SETTLE = (
    update(t)
    .where(
        t.c.id == bindparam("row_id"),
        or_(
            and_(t.c.state == "leased", t.c.lease_generation == bindparam("row_generation")),
            and_(literal("sent") == bindparam("row_state"), t.c.state != "sent"),
        ),
    )
    .values(
        state=bindparam("row_state"),
        outcome=bindparam("row_outcome"),
        provider_id=bindparam("row_provider_id"),
        due_at=func.coalesce(bindparam("row_due_at", type_=t.c.due_at.type), t.c.due_at),
        settled_at=bindparam("row_settled_at", type_=t.c.settled_at.type),
        attempts=t.c.attempts + 1,
        lease_until=null(),
        leased_by=null(),
    )
)


def settle(connection: Connection, settlements: Sequence[Settlement], now: datetime) -> None:
    """Write what became of messages.

    `sent` is a fact and settles any row that is not sent yet; all else needs the current lease.
    """
    if not settlements:
        return
    rows = [
        {
            "row_id": done.lease.id,
            "row_generation": done.lease.lease_generation,
            "row_state": done.state,
            "row_outcome": done.outcome,
            "row_provider_id": done.provider_id,
            "row_due_at": done.due_at,
            "row_settled_at": None if done.state == "waiting" else now,
        }
        for done in sorted(settlements, key=lambda done: done.lease.id)
    ]
    connection.execute(_SETTLE, rows)


def origins(
    connection: Connection, ids: Collection[int]
) -> dict[int, tuple[UUID | None, datetime]]:
    """Return the subscription and the time of each of these mails that is still on record."""
    if not ids:
        return {}
    rows = connection.execute(
        select(t.c.id, t.c.subscription_id, t.c.created_at).where(
            bulk.any_of(connection, t.c.id, ids)
        )
    )
    return {row.id: (row.subscription_id, row.created_at) for row in rows}


def oldest_due(connection: Connection, now: datetime) -> datetime | None:
    """Return since when the oldest message that could be sent has waited."""
    due = select(func.min(t.c.due_at)).where(t.c.state == "waiting", t.c.due_at <= now)
    return connection.execute(due).scalar()


def has_held(connection: Connection) -> bool:
    """Tell whether some message waits for a human."""
    held = select(t.c.id).where(t.c.state == "held").limit(1)
    return connection.execute(held).first() is not None
