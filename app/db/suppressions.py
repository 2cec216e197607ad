"""Addresses, as keyed hashes, that must not be mailed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, literal, select, tuple_

from app.db import bulk
from app.db.tables import subscribers
from app.db.tables import suppressions as t
from app.domain.subscription import BLOCKING, Reason


def find(connection: Connection, hashes: Collection[str]) -> dict[str, set[Reason]]:
    """Return the reasons for each hash that has any."""
    if not hashes:
        return {}
    rows = connection.execute(
        select(t.c.hash, t.c.reason).where(bulk.any_of(connection, t.c.hash, hashes))
    )
    reasons: dict[str, set[Reason]] = {}
    for row in rows:
        reasons.setdefault(row.hash, set()).add(Reason(row.reason))
    return reasons


def add(connection: Connection, found: Sequence[tuple[str, Reason]], at: datetime) -> None:
    """Suppress each hash for its reason; one that is there already keeps its date."""
    rows = [{"hash": h, "reason": r.value, "created_at": at} for h, r in sorted(set(found))]
    bulk.insert(connection, t, rows, on_conflict="skip")


def lift(connection: Connection, hashes: Collection[str], reason: Reason) -> None:
    """Remove one reason from each hash."""
    if hashes:
        condition = bulk.any_of(connection, t.c.hash, hashes)
        connection.execute(delete(t).where(condition, t.c.reason == reason.value))


def is_blocked() -> ColumnElement[bool]:
    """Return the condition that the subscriber of the enclosing query may not be mailed."""
    reasons = sorted(BLOCKING)
    return exists().where(t.c.hash == subscribers.c.email_hash, t.c.reason.in_(reasons))


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which suppressions."""

    reason: str | None = None
    hash: str | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """The last row of the page before."""

    created_at: datetime
    hash: str
    reason: str


def put(connection: Connection, hashed: str, reason: Reason, at: datetime) -> bool:
    """Suppress one hash; False if it is there already, and then it keeps its date."""
    row = {"hash": hashed, "reason": reason.value, "created_at": at}
    return bool(bulk.insert_new(connection, t, [row]))


def read(connection: Connection, hashed: str, reason: Reason) -> dict[str, Any] | None:
    """Return one."""
    statement = _SHOWN.where(t.c.hash == hashed, t.c.reason == reason.value)
    rows = [dict(row) for row in connection.execute(statement).mappings()]
    return _with_owners(connection, rows)[0] if rows else None


def page(
    connection: Connection, wanted: Filter, after: Position | None, limit: int
) -> list[dict[str, Any]]:
    """Return up to `limit` suppressions after a position, newest first."""
    statement = _SHOWN.order_by(*(c.desc() for c in _ORDER)).limit(limit)
    if wanted.reason is not None:
        statement = statement.where(t.c.reason == wanted.reason)
    if wanted.hash is not None:
        statement = statement.where(t.c.hash == wanted.hash)
    if after is not None:
        there = (after.created_at, after.hash, after.reason)
        bound = (literal(v, c.type) for v, c in zip(there, _ORDER, strict=True))
        statement = statement.where(tuple_(*_ORDER) < tuple_(*bound))
    rows = [dict(row) for row in connection.execute(statement).mappings()]
    return _with_owners(connection, rows)


_ORDER = (t.c.created_at, t.c.hash, t.c.reason)
_SHOWN = select(t.c.hash.label("id"), t.c.reason, t.c.created_at)


def _with_owners(connection: Connection, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the subscriber that each is about, if we have them."""
    hashes = {item["id"] for item in items}
    owners = select(subscribers.c.email_hash, subscribers.c.id).where(
        bulk.any_of(connection, subscribers.c.email_hash, hashes)
    )
    found = {row.email_hash: row.id for row in connection.execute(owners)} if hashes else {}
    return [{**item, "subscriber": found.get(item["id"])} for item in items]
