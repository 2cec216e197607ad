"""Leases: a message that a worker has in hand is nobody else's until the lease runs out."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    func,
    literal,
    null,
    or_,
    select,
    update,
)

from app.db import bulk, suppressions
from app.db.tables import outbox as t
from app.db.tables import subscribers, subscriptions
from app.domain.subscription import SELF_SERVICE_FOR, Mail, Status

LEASE = timedelta(seconds=60)
_LOOK = 500
_ROUNDS = 40
MAX_EXPIRATIONS = 3
"""A row whose lease ran out this often is sent alone, and after one more time held."""


class Reach(IntEnum):
    """How far a claim goes; each of these includes those before."""

    DUE = 1
    """What nobody has in hand."""
    LAPSED = 2
    """What somebody had, whose lease ran out."""
    SUSPECTS = 3
    """What others may have died of: only for who has nothing in hand."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One message in hand: what it is, who it is for, and the proof that it is ours to settle."""

    id: int
    kind: str
    subscription_id: UUID
    generation: int
    sequence: int | None
    attempts: int
    lease_generation: int
    created_at: datetime
    email: str
    newsletter: str
    locale: str | None = None
    subscriber_id: UUID | None = None
    suspect: bool = False
    """Its lease has run out so often that it may be what ends the worker."""
    probe: bool = False
    """It is sent to find out whether the transport works again."""


def claim(
    connection: Connection,
    worker: str,
    limit: int,
    now: datetime,
    confirm_ttl: timedelta,
    reach: Reach = Reach.SUSPECTS,
) -> list[Lease]:
    """Lease up to `limit` due messages, most urgent first; a suspect only if there is no other.

    What may not be mailed any more is settled as `skipped` in the same statement. Commit before
    anything is sent.
    """
    if reach >= Reach.LAPSED:
        _take_back(connection, now)
    ids = _lease(connection, worker, limit, now, confirm_ttl, suspects=False)
    if not ids and reach >= Reach.SUSPECTS:
        ids = _lease(connection, worker, 1, now, confirm_ttl, suspects=True)
    return _in_hand(connection, ids)


def _take_back(connection: Connection, now: datetime) -> None:
    # Who settles one of them at this moment knows better, and is not waited for.
    lapsed = select(t.c.id).where(t.c.state == "leased", t.c.lease_until <= now)
    connection.execute(
        update(t)
        .where(t.c.id.in_(lapsed.with_for_update(skip_locked=True)))
        .values(
            state=case((t.c.expirations < MAX_EXPIRATIONS, "waiting"), else_="held"),
            outcome="lease expired",
            lease_until=null(),
            leased_by=null(),
            expirations=t.c.expirations + 1,
        )
    )


def _lease(
    connection: Connection,
    worker: str,
    limit: int,
    now: datetime,
    confirm_ttl: timedelta,
    *,
    suspects: bool,
) -> list[int]:
    due = _due(limit, now, confirm_ttl, suspects=suspects)
    wanted = due.c.reason.is_(None)
    statement = (
        update(t)
        .where(t.c.id == due.c.id)
        .values(
            state=case((wanted, "leased"), else_="skipped"),
            outcome=due.c.reason,
            lease_until=case((wanted, literal(now + LEASE, t.c.lease_until.type)), else_=null()),
            leased_by=case((wanted, worker), else_=null()),
            lease_generation=t.c.lease_generation + 1,
            settled_at=case((wanted, null()), else_=literal(now, t.c.settled_at.type)),
        )
        .returning(t.c.id, t.c.state)
    )
    for _ in range(_ROUNDS):
        rows = connection.execute(statement).all()
        ids = [row.id for row in rows if row.state == "leased"]
        if ids or not rows:
            return ids
        # All of these were skipped: what is behind them should not wait for the next claim.
        if limit < _LOOK:
            _skip(connection, _due(_LOOK, now, confirm_ttl, suspects=suspects), now)
    return []


def _due(limit: int, now: datetime, confirm_ttl: timedelta, *, suspects: bool) -> CTE:
    """Return the most urgent rows, locked, each with the reason not to send it if there is one."""
    suspect = t.c.expirations >= MAX_EXPIRATIONS
    return (
        select(t.c.id, _skip_reason(now, now - confirm_ttl).label("reason"))
        .select_from(
            t.outerjoin(subscriptions, subscriptions.c.id == t.c.subscription_id).outerjoin(
                subscribers, subscribers.c.id == subscriptions.c.subscriber_id
            )
        )
        .where(t.c.state == "waiting", t.c.due_at <= now, suspect if suspects else ~suspect)
        .order_by(t.c.priority, t.c.due_at, t.c.id)
        .limit(limit)
        .with_for_update(of=t, skip_locked=True)
        .cte("due")
    )


def _skip(connection: Connection, due: CTE, now: datetime) -> None:
    """Skip many at once: where few may be leased, a long line of them would take a minute."""
    connection.execute(
        update(t)
        .where(t.c.id == due.c.id, due.c.reason.is_not(None))
        .values(state="skipped", outcome=due.c.reason, settled_at=now)
    )


def _skip_reason(now: datetime, confirm_deadline: datetime) -> ColumnElement[str]:
    """Say why a message must not be sent; design: who may be mailed is re-checked at the claim."""
    s = subscriptions.c
    confirmed_only = t.c.kind.in_([Mail.ALREADY_SUBSCRIBED.value, Mail.WELCOME.value])
    is_confirm = t.c.kind == Mail.CONFIRM.value
    is_welcome = t.c.kind == Mail.WELCOME.value
    is_link = t.c.kind == Mail.PREFERENCES_LINK.value
    other_generation = s.generation != t.c.generation
    return case(
        (s.id.is_(None), "gone"),
        (suppressions.is_blocked(), "suppressed"),
        (and_(is_confirm, s.status != Status.PENDING.value), "not pending"),
        (and_(is_confirm, t.c.created_at <= confirm_deadline), "link expired"),
        (and_(is_link, t.c.created_at <= now - SELF_SERVICE_FOR), "link expired"),
        (and_(confirmed_only, s.status != Status.CONFIRMED.value), "not confirmed"),
        (and_(or_(is_confirm, is_welcome), other_generation), "asked again"),
        (and_(is_welcome, s.paused_until > now), "paused"),
        else_=null(),
    )


def _in_hand(connection: Connection, ids: Collection[int]) -> list[Lease]:
    if not ids:
        return []
    rows = connection.execute(
        select(
            t.c.id,
            t.c.kind,
            t.c.subscription_id,
            t.c.generation,
            t.c.sequence,
            t.c.attempts,
            t.c.lease_generation,
            t.c.created_at,
            subscribers.c.email,
            subscriptions.c.newsletter,
            # The owner's own comes before what was asked for with the address.
            func.coalesce(subscribers.c.locale, subscriptions.c.pending_locale),
            t.c.subscriber_id,
            (t.c.expirations >= MAX_EXPIRATIONS).label("suspect"),
        )
        .join_from(t, subscriptions, subscriptions.c.id == t.c.subscription_id)
        .join(subscribers)
        .where(bulk.any_of(connection, t.c.id, ids))
        .order_by(t.c.priority, t.c.due_at, t.c.id)
    )
    return [Lease(*row) for row in rows]


def renew(connection: Connection, worker: str, ids: Collection[int], now: datetime) -> set[int]:
    """Prolong leases that this worker still holds; return the ids of those.

    What is being settled at this moment is left out, so that nobody waits for anybody.
    """
    ours = select(t.c.id).where(
        bulk.any_of(connection, t.c.id, ids), t.c.state == "leased", t.c.leased_by == worker
    )
    rows = connection.scalars(
        update(t)
        .where(t.c.id.in_(ours.with_for_update(skip_locked=True)))
        .values(lease_until=now + LEASE)
        .returning(t.c.id)
    )
    return set(rows)


_GIVE_BACK = (
    update(t)
    .where(
        t.c.id == bindparam("row_id"),
        t.c.state == "leased",
        t.c.lease_generation == bindparam("row_generation"),
    )
    .values(
        state="waiting",
        due_at=func.coalesce(bindparam("row_due_at", type_=t.c.due_at.type), t.c.due_at),
        lease_until=null(),
        leased_by=null(),
    )
)


def give_back(
    connection: Connection,
    leases: Collection[Lease],
    due: Mapping[int, datetime] | None = None,
) -> None:
    """Return messages that were never tried, for anybody to take at once, or when they are due."""
    times = due or {}
    rows = [
        {
            "row_id": lease.id,
            "row_generation": lease.lease_generation,
            "row_due_at": times.get(lease.id),
        }
        for lease in sorted(leases, key=lambda lease: lease.id)
    ]
    if rows:
        connection.execute(_GIVE_BACK, rows)
