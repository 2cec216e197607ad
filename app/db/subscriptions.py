"""Subscriptions as the door sees them: locked together with their subscriber."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, case, delete, func, select, update

from app.db import bulk
from app.db.tables import newsletters, subscribers, subscriptions
from app.domain.consent import NO_EVENTS, Head
from app.domain.subscription import Status


@dataclass(slots=True, kw_only=True)
class Subscription:
    """One subscription and who it belongs to; `status` None: not there (yet, or any more)."""

    id: UUID
    subscriber_id: UUID
    email: str
    email_key: str
    email_hash: str
    newsletter: str
    locale: str | None = None
    """The subscriber's own; nothing here changes it."""
    status: Status | None = None
    generation: int = 0
    head: Head = NO_EVENTS
    pending_name: str | None = None
    pending_locale: str | None = None
    requested_at: datetime | None = None
    confirmed_at: datetime | None = None
    ended_at: datetime | None = None
    paused_until: datetime | None = None
    left_because: str | None = None
    reminded_at: datetime | None = None


_COLUMNS = (
    subscriptions.c.id,
    subscriptions.c.subscriber_id,
    subscribers.c.email,
    subscribers.c.email_key,
    subscribers.c.email_hash,
    subscriptions.c.newsletter,
    subscribers.c.locale,
    subscriptions.c.status,
    subscriptions.c.generation,
    subscriptions.c.sequence,
    subscriptions.c.head_hash,
    subscriptions.c.pending_name,
    subscriptions.c.pending_locale,
    subscriptions.c.requested_at,
    subscriptions.c.confirmed_at,
    subscriptions.c.ended_at,
    subscriptions.c.paused_until,
    subscriptions.c.left_because,
    subscriptions.c.reminded_at,
)


def find(
    connection: Connection, email_keys: Collection[str]
) -> dict[str, tuple[UUID, dict[str, UUID]]]:
    """Return by address: the subscriber, and its subscription in each newsletter."""
    if not email_keys:
        return {}
    rows = connection.execute(
        select(
            subscribers.c.email_key,
            subscribers.c.id,
            subscriptions.c.newsletter,
            subscriptions.c.id,
        )
        .select_from(subscribers.outerjoin(subscriptions))
        .where(bulk.any_of(connection, subscribers.c.email_key, email_keys))
    )
    found: dict[str, tuple[UUID, dict[str, UUID]]] = {}
    for email_key, subscriber_id, newsletter, subscription_id in rows:
        owned = found.setdefault(email_key, (subscriber_id, {}))[1]
        if newsletter is not None:
            owned[newsletter] = subscription_id
    return found


def lock(connection: Connection, ids: Collection[UUID]) -> dict[UUID, Subscription]:
    """Return subscriptions by id, locked in id order so that two processes cannot deadlock."""
    if not ids:
        return {}
    rows = connection.execute(
        select(*_COLUMNS)
        .join_from(subscriptions, subscribers)
        .where(bulk.any_of(connection, subscriptions.c.id, ids))
        .order_by(subscriptions.c.id)
        .with_for_update(of=subscriptions)
    )
    return {row.id: _subscription(row._asdict()) for row in rows}


def _subscription(values: dict[str, Any]) -> Subscription:
    head = Head(values.pop("sequence"), values.pop("head_hash"))
    status = Status(values.pop("status"))
    return Subscription(**values, status=status, head=head)


def add_subscribers(connection: Connection, new: Iterable[Subscription], at: datetime) -> None:
    """Insert the subscribers of new subscriptions, sorted by address.

    Raises IntegrityError if somebody else inserted one meanwhile.
    """
    rows = {
        row.subscriber_id: {
            "id": row.subscriber_id,
            "email": row.email,
            "email_key": row.email_key,
            "email_hash": row.email_hash,
            "created_at": at,
        }
        for row in new
    }
    bulk.insert(
        connection, subscribers, sorted(rows.values(), key=lambda row: str(row["email_key"]))
    )


def save(connection: Connection, changed: Iterable[Subscription]) -> None:
    """Insert or update subscriptions, in id order."""
    rows = [
        {
            "id": row.id,
            "subscriber_id": row.subscriber_id,
            "newsletter": row.newsletter,
            "status": row.status.value if row.status else None,
            "generation": row.generation,
            "sequence": row.head.sequence,
            "head_hash": row.head.hash,
            "pending_name": row.pending_name,
            "pending_locale": row.pending_locale,
            "requested_at": row.requested_at,
            "confirmed_at": row.confirmed_at,
            "ended_at": row.ended_at,
            "paused_until": row.paused_until,
            "left_because": row.left_because,
            "reminded_at": row.reminded_at,
        }
        for row in sorted(changed, key=lambda row: row.id)
    ]
    bulk.insert(connection, subscriptions, rows, on_conflict="update")


def fill(connection: Connection, confirmed: Sequence[Subscription]) -> None:
    """Give subscribers the name and locale that they asked with, where they have none.

    In the order of their ids, so that two processes cannot deadlock.
    """
    for row in sorted(confirmed, key=lambda row: row.subscriber_id):
        if row.pending_name or row.pending_locale:
            connection.execute(
                update(subscribers)
                .where(subscribers.c.id == row.subscriber_id)
                .values(
                    name=_where_empty(subscribers.c.name, row.pending_name),
                    locale=_where_empty(subscribers.c.locale, row.pending_locale),
                )
            )


def _where_empty(column: Any, value: str | None) -> Any:  # noqa: ANN401 - any column
    return case((func.coalesce(column, "") == "", value), else_=column)


def remove(connection: Connection, gone: Sequence[Subscription]) -> None:
    """Delete subscriptions; their subscribers stay until `remove_orphans`."""
    if gone:
        condition = bulk.any_of(connection, subscriptions.c.id, {row.id for row in gone})
        connection.execute(delete(subscriptions).where(condition))


def remove_orphans(connection: Connection, subscriber_ids: Collection[UUID]) -> None:
    """Delete those of the subscribers that have no subscription left."""
    connection.execute(
        delete(subscribers).where(
            bulk.any_of(connection, subscribers.c.id, subscriber_ids),
            ~select(subscriptions.c.id)
            .where(subscriptions.c.subscriber_id == subscribers.c.id)
            .exists(),
        )
    )


def unconfirmed(connection: Connection, before: datetime, limit: int) -> list[UUID]:
    """Return pending subscriptions that were last asked for before a time, oldest first."""
    return list(
        connection.scalars(
            select(subscriptions.c.id)
            .where(
                subscriptions.c.status == Status.PENDING.value,
                subscriptions.c.requested_at < before,
            )
            .order_by(subscriptions.c.requested_at)
            .limit(limit)
        )
    )


def forgotten(
    connection: Connection, after: datetime, before: datetime, limit: int
) -> list[tuple[UUID, str, str]]:
    """Return pending subscriptions asked for in this span of time, address and newsletter.

    Only of newsletters that remind, and of nobody who was reminded already.
    """
    rows = connection.execute(
        select(subscriptions.c.id, subscribers.c.email, subscriptions.c.newsletter)
        .join_from(subscriptions, subscribers)
        .join(newsletters, newsletters.c.slug == subscriptions.c.newsletter)
        .where(
            newsletters.c.reminder.is_(True),
            subscriptions.c.status == Status.PENDING.value,
            subscriptions.c.requested_at > after,
            subscriptions.c.requested_at <= before,
            subscriptions.c.reminded_at.is_(None),
        )
        .order_by(subscriptions.c.requested_at)
        .limit(limit)
    )
    return [(row.id, row.email, row.newsletter) for row in rows]


def of_subscribers(connection: Connection, subscriber_ids: Collection[UUID]) -> set[UUID]:
    """Return the ids of all subscriptions of these people."""
    if not subscriber_ids:
        return set()
    owned = bulk.any_of(connection, subscriptions.c.subscriber_id, subscriber_ids)
    return set(connection.scalars(select(subscriptions.c.id).where(owned)))


def of_subscriber(connection: Connection, subscriber_id: UUID) -> list[Subscription]:
    """Return all subscriptions of one person without locking them."""
    statement = select(*_COLUMNS).join_from(subscriptions, subscribers)
    rows = connection.execute(statement.where(subscriptions.c.subscriber_id == subscriber_id))
    return [_subscription(row._asdict()) for row in rows]


def read(connection: Connection, subscription_id: UUID) -> Subscription | None:
    """Return one subscription without locking it."""
    statement = select(*_COLUMNS).join_from(subscriptions, subscribers)
    row = connection.execute(statement.where(subscriptions.c.id == subscription_id)).first()
    return _subscription(row._asdict()) if row else None
