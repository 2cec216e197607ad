"""Settlements: what became of messages, written for many of them in one statement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Update,
    and_,
    bindparam,
    column,
    func,
    literal,
    null,
    or_,
    update,
)

from app.db.leases import Lease
from app.db.tables import outbox as t


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a message that we hold."""

    lease: Lease
    state: str
    outcome: str
    provider_id: str | None = None
    due_at: datetime | None = None


_SETTLED = ("id", "lease_generation", "state", "outcome", "provider_id", "due_at", "settled_at")


def _settled(row: Mapping[str, ColumnElement[Any]]) -> Update:
    """Return the statement that settles each row by the values that belong to it."""
    return (
        update(t)
        .where(
            t.c.id == row["id"],
            or_(
                and_(t.c.state == "leased", t.c.lease_generation == row["lease_generation"]),
                and_(literal("sent") == row["state"], t.c.state != "sent"),
            ),
        )
        .values(
            state=row["state"],
            outcome=row["outcome"],
            provider_id=row["provider_id"],
            due_at=func.coalesce(row["due_at"], t.c.due_at),
            settled_at=row["settled_at"],
            attempts=t.c.attempts + 1,
            lease_until=null(),
            leased_by=null(),
        )
    )


def _values(names: Sequence[str]) -> dict[str, ColumnElement[Any]]:
    """Return the parameters of one row, for executemany."""
    return {name: bindparam(f"row_{name}", type_=t.c[name].type) for name in names}


def _arrays(names: Sequence[str]) -> dict[str, ColumnElement[Any]]:
    """Return the columns of many rows that come as arrays, for PostgreSQL."""
    arrays = [bindparam(f"row_{name}", type_=ARRAY(t.c[name].type)) for name in names]
    columns = [column(name, t.c[name].type) for name in names]
    rows = func.unnest(*arrays).table_valued(*columns, name="done").render_derived()
    return {name: rows.c[name] for name in names}


_SETTLE = _settled(_values(_SETTLED))
_SETTLE_ARRAYS = _settled(_arrays(_SETTLED))


_SENT = ("id", "outcome", "provider_id")


def _sent(row: Mapping[str, ColumnElement[Any]]) -> Update:
    return (
        update(t)
        .where(t.c.id == row["id"], t.c.state != "sent")
        .values(
            state="sent",
            outcome=row["outcome"],
            provider_id=row["provider_id"],
            settled_at=bindparam("sent_at", type_=t.c.settled_at.type),
            attempts=t.c.attempts + 1,
            lease_until=null(),
            leased_by=null(),
        )
    )


_SETTLE_SENT = _sent(_values(_SENT))
_SETTLE_SENT_ARRAYS = _sent(_arrays(_SENT))


def write_sent(
    connection: Connection, sent: Sequence[tuple[int, str, str | None]], at: datetime
) -> None:
    """Write that messages were sent: id, outcome and the provider's name for each.

    It is a fact, whoever holds the lease now. This is where nearly all mail ends, so it is one
    short statement.
    """
    names = [f"row_{name}" for name in _SENT]
    if connection.dialect.name == "postgresql":
        arrays = dict(zip(names, map(list, zip(*sent, strict=True)), strict=True))
        connection.execute(_SETTLE_SENT_ARRAYS, {**arrays, "sent_at": at})
    else:
        rows = [{**dict(zip(names, row, strict=True)), "sent_at": at} for row in sent]
        connection.execute(_SETTLE_SENT, rows)


def write(connection: Connection, settlements: Sequence[Settlement], now: datetime) -> None:
    """Write what became of messages.

    `sent` is a fact and settles any row that is not sent yet; all else needs the current lease.
    """
    if not settlements:
        return
    rows = [
        {
            "row_id": done.lease.id,
            "row_lease_generation": done.lease.lease_generation,
            "row_state": done.state,
            "row_outcome": done.outcome,
            "row_provider_id": done.provider_id,
            "row_due_at": done.due_at,
            "row_settled_at": None if done.state == "waiting" else now,
        }
        for done in settlements
    ]
    if connection.dialect.name == "postgresql":
        connection.execute(_SETTLE_ARRAYS, {name: [row[name] for row in rows] for name in rows[0]})
    else:
        connection.execute(_SETTLE, rows)
