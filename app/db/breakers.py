"""The circuit breaker on confirmation mails: one row, and the mails that wait for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Float, case, delete, func, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from app.db import bulk
from app.db.tables import breakers as t
from app.db.tables import outbox, subscriptions
from app.domain.breaker import Line
from app.domain.subscription import Mail, Status

HELD_BACK = "held back"
"""What the outbox shows of a mail that waits because too many were asked for."""

_NAME = "confirm"


@dataclass(frozen=True, slots=True)
class Breaker:
    """The line, the rate that it was made with, and since when it is known to be open."""

    line: Line
    rate: str
    opened_at: datetime | None = None


def book(connection: Connection, rate: str, now: float, seconds: float) -> Line:
    """Lengthen the line by so many seconds, times its pace; return it.

    The row stays locked until the end, so this comes last in a transaction.
    """
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    begin = case((t.c.booked_until > now, t.c.booked_until), else_=literal(now, Float()))
    new = {"name": _NAME, "rate": rate, "booked_until": now + seconds, "pace": 1}
    statement = insert(t).values(new)
    row = connection.execute(
        statement.on_conflict_do_update(
            index_elements=["name"], set_={"booked_until": begin + seconds * t.c.pace}
        ).returning(t.c.booked_until, t.c.pace)
    ).one()
    return Line(row.booked_until, row.pace)


def read(connection: Connection, *, lock: bool = False) -> Breaker | None:
    """Return the breaker; None if there has been no mail yet."""
    statement = select(t.c.booked_until, t.c.pace, t.c.rate, t.c.opened_at)
    row = connection.execute(statement.with_for_update() if lock else statement).first()
    return Breaker(Line(row.booked_until, row.pace), row.rate, row.opened_at) if row else None


def save(connection: Connection, breaker: Breaker) -> None:
    """Write a breaker that is locked."""
    row = {
        "name": _NAME,
        "booked_until": breaker.line.until,
        "pace": breaker.line.pace,
        "rate": breaker.rate,
        "opened_at": breaker.opened_at,
    }
    bulk.insert(connection, t, [row], on_conflict="update")


def remove(connection: Connection) -> None:
    """Forget the line."""
    connection.execute(delete(t))


def answers(
    connection: Connection, after: datetime, before: datetime, oldest: datetime, limit: int
) -> tuple[int, int]:
    """Return how many of the newest mails went out between two times, and how many are answered.

    None is looked at that was asked for before `oldest`.
    """
    o, s = outbox.c, subscriptions.c
    is_answered = or_(s.status == Status.CONFIRMED.value, s.confirmed_at >= o.created_at)
    sample = (
        select(case((is_answered, 1), else_=0).label("answered"))
        .join_from(outbox, subscriptions, s.id == o.subscription_id)
        .where(
            o.kind == Mail.CONFIRM.value,
            o.created_at >= oldest,
            o.state == "sent",
            o.settled_at.between(after, before),
        )
        .order_by(o.created_at.desc())
        .limit(limit)
        .subquery()
    )
    sums = select(func.count(), func.coalesce(func.sum(sample.c.answered), 0)).select_from(sample)
    sent, answered = connection.execute(sums).one()
    return sent, answered


def waiting(connection: Connection, now: datetime) -> list[int]:
    """Return the ids of the mails that are held back, in their order, locked."""
    o = outbox.c
    return list(
        connection.scalars(
            select(o.id)
            .where(
                o.state == "waiting",
                o.priority == 0,
                o.due_at > now,
                o.kind == Mail.CONFIRM.value,
                o.outcome == HELD_BACK,
            )
            .order_by(o.due_at, o.id)
            .with_for_update(skip_locked=True)
        )
    )


def put_off(connection: Connection, ids: Sequence[int], due: datetime) -> None:
    """Give mails another time."""
    chosen = bulk.any_of(connection, outbox.c.id, ids)
    connection.execute(update(outbox).where(chosen).values(due_at=due))
