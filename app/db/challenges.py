"""Challenges whose solution was used: it counts once."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, delete

from app.db import bulk
from app.db.tables import spent_challenges as t


def spend(connection: Connection, solved: Mapping[str, datetime]) -> set[str]:
    """Keep solved challenges until they expire; return those that were not spent before.

    In their order, so that two processes cannot deadlock: the second waits for the first.
    """
    rows = [{"challenge": name, "expires_at": solved[name]} for name in sorted(solved)]
    return {row.challenge for row in bulk.insert_new(connection, t, rows)}


def forget(connection: Connection, before: datetime) -> None:
    """Remove what expired before a time."""
    connection.execute(delete(t).where(t.c.expires_at < before))
