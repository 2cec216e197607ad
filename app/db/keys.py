"""API keys: only hashes are kept."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from app.db.tables import api_keys as t


def add(connection: Connection, row: Mapping[str, Any]) -> None:
    """Insert a key."""
    connection.execute(insert(t).values(**row))


def read(connection: Connection, key_id: str) -> Mapping[str, Any] | None:
    """Return one key."""
    row = connection.execute(select(t).where(t.c.id == key_id)).mappings().first()
    return dict(row) if row else None


def read_all(connection: Connection) -> list[dict[str, Any]]:
    """Return every key, oldest first."""
    rows = connection.execute(select(t).order_by(t.c.created_at, t.c.id)).mappings()
    return [dict(row) for row in rows]


def revoke(connection: Connection, key_id: str, at: datetime) -> bool:
    """Revoke a key; False if there is none that is still valid."""
    condition = (t.c.id == key_id) & t.c.revoked_at.is_(None)
    return connection.execute(update(t).where(condition).values(revoked_at=at)).rowcount > 0


def touch(connection: Connection, key_id: str, at: datetime) -> None:
    """Note when the key was used."""
    connection.execute(update(t).where(t.c.id == key_id).values(last_used_at=at))
