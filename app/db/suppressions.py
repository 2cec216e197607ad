"""Addresses, as keyed hashes, that must not be mailed."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, exists, select

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
