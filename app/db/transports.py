"""Whether mail may leave now: shared by all workers."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, or_, select, update

from app.db import bulk
from app.db.tables import transports as t


@dataclass(frozen=True, slots=True)
class Pause:
    """Why and until when a transport rests; `failures` in a row."""

    until: datetime | None
    reason: str
    since: datetime
    failures: int


def read(connection: Connection, name: str) -> Pause | None:
    """Return the pause, which may be over: then one message probes; None if all is well."""
    row = connection.execute(
        select(t.c.paused_until, t.c.reason, t.c.since, t.c.failures).where(t.c.name == name)
    ).first()
    return Pause(*row) if row is not None and row.reason is not None else None


def read_all(connection: Connection) -> dict[str, Pause]:
    """Return every transport that rests."""
    rows = connection.execute(
        select(t.c.name, t.c.paused_until, t.c.reason, t.c.since, t.c.failures).where(
            t.c.reason.is_not(None)
        )
    )
    return {row.name: Pause(*row[1:]) for row in rows}


def pause(connection: Connection, name: str, found: Pause) -> None:
    """Let the transport rest."""
    row = {
        "name": name,
        "paused_until": found.until,
        "reason": found.reason,
        "since": found.since,
        "failures": found.failures,
    }
    bulk.insert(connection, t, [row], on_conflict="update")


def take_probe(connection: Connection, name: str, now: datetime, until: datetime) -> bool:
    """Let everybody else rest on while one message probes; False if it is not our turn."""
    over = or_(t.c.paused_until.is_(None), t.c.paused_until <= now)
    taken = update(t).where(t.c.name == name, t.c.reason.is_not(None), over)
    return connection.execute(taken.values(paused_until=until)).rowcount == 1


def resume(connection: Connection, name: str) -> None:
    """Let mail leave again."""
    connection.execute(
        update(t)
        .where(t.c.name == name, t.c.reason.is_not(None))
        .values(paused_until=None, reason=None, since=None, failures=0)
    )
