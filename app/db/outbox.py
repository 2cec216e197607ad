"""The outbox: one row per message, written with the change that made it necessary."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    Select,
    func,
    null,
    or_,
    select,
    text,
    update,
)

from app.db import bulk
from app.db.tables import outbox as t
from app.db.tables import subscriptions
from app.domain.retry import Outcome

CHANNEL = "newsletter_outbox"

TRANSPORT_OUTCOMES = (Outcome.RETRY_TRANSPORT, Outcome.SENDER_FAULT)
"""Outcomes that say nothing about the recipient."""


class State(StrEnum):
    """Where a message is."""

    WAITING = "waiting"
    LEASED = "leased"
    SENT = "sent"
    HELD = "held"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


def add(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Queue messages and wake a worker when this commits."""
    bulk.insert(connection, t, rows)
    if rows:
        wake(connection)


def wake(connection: Connection) -> None:
    """Wake a worker when this commits; on SQLite the commit itself is seen."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"NOTIFY {CHANNEL}"))


def database_time(connection: Connection) -> datetime:
    """Return the clock that all workers share; on SQLite they share the host's."""
    if connection.dialect.name == "postgresql":
        now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return now
    return datetime.now(UTC)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which messages."""

    state: State | None = None
    kind: str | None = None
    newsletter: str | None = None


def page(
    connection: Connection, wanted: Filter, before: int | None, limit: int
) -> list[dict[str, Any]]:
    """Return up to `limit` messages older than `before`, newest first, without any address."""
    statement = _shown().order_by(t.c.id.desc()).limit(limit)
    if wanted.state is not None:
        statement = statement.where(t.c.state == wanted.state.value)
    if wanted.kind is not None:
        statement = statement.where(t.c.kind == wanted.kind)
    if wanted.newsletter is not None:
        statement = statement.where(subscriptions.c.newsletter == wanted.newsletter)
    if before is not None:
        statement = statement.where(t.c.id < before)
    return [dict(row) for row in connection.execute(statement).mappings()]


def read(connection: Connection, message: int) -> dict[str, Any] | None:
    """Return one message as `page` does."""
    row = connection.execute(_shown().where(t.c.id == message)).mappings().first()
    return dict(row) if row else None


def _shown() -> Select[Any]:
    return select(
        t.c.id,
        t.c.kind,
        subscriptions.c.newsletter,
        t.c.subscriber_id.label("subscriber"),
        t.c.subscription_id.label("subscription"),
        t.c.state,
        t.c.priority,
        t.c.attempts,
        t.c.expirations,
        t.c.outcome,
        t.c.provider_id,
        t.c.due_at,
        t.c.lease_until,
        t.c.created_at,
        t.c.settled_at,
    ).outerjoin_from(t, subscriptions, subscriptions.c.id == t.c.subscription_id)


def requeue(connection: Connection, message: int, now: datetime) -> bool:
    """Make a held message due now, trusted again; False if it is not held any more."""
    held = update(t).where(t.c.id == message, t.c.state == State.HELD.value)
    again = held.values(state=State.WAITING.value, due_at=now, expirations=0, settled_at=null())
    return connection.execute(again).rowcount == 1


def hasten(connection: Connection, now: datetime) -> None:
    """Make due what waits for the transport's sake, and not for its recipient's."""
    waits = (t.c.outcome.startswith(o.value, autoescape=True) for o in TRANSPORT_OUTCOMES)
    due = (
        select(t.c.id)
        .where(t.c.state == State.WAITING.value, t.c.due_at > now)
        .where(or_(*waits))
        .with_for_update(skip_locked=True)  # what a worker takes now needs no haste
    )
    connection.execute(update(t).where(t.c.id.in_(due)).values(due_at=now))
