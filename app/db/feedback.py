"""What others told of our mail, and which mail it was."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, distinct, func, or_, select

from app.db import bulk
from app.db.tables import feedback_events as t
from app.db.tables import outbox, subscribers, subscriptions
from app.domain.feedback import Happened


@dataclass(frozen=True, slots=True)
class Sent:
    """A mail that was on the wire or may have been; `email_hash` None: its subscriber is gone."""

    id: int
    provider_id: str | None
    subscriber_id: UUID | None
    subscription_id: UUID | None
    email_hash: str | None


def sent(
    connection: Connection, ids: Collection[int], provider_ids: Collection[str]
) -> dict[int, Sent]:
    """Return the mails with these ids or these names at the provider that have been tried."""
    found: dict[int, Sent] = {}
    if ids:
        found |= _sent(connection, bulk.any_of(connection, outbox.c.id, ids))
    if provider_ids:
        named = bulk.any_of(connection, outbox.c.provider_id, provider_ids)
        found |= _sent(connection, and_(outbox.c.provider_id.is_not(None), named))
    return found


def _sent(connection: Connection, condition: ColumnElement[bool]) -> dict[int, Sent]:
    # A worker that died after the final dot leaves an expired lease and no attempt.
    tried = or_(
        outbox.c.attempts > 0, outbox.c.expirations > 0, outbox.c.state.in_(["leased", "sent"])
    )
    rows = connection.execute(
        select(
            outbox.c.id,
            outbox.c.provider_id,
            outbox.c.subscriber_id,
            outbox.c.subscription_id,
            subscribers.c.email_hash,
        )
        .select_from(outbox.outerjoin(subscribers, subscribers.c.id == outbox.c.subscriber_id))
        .where(condition, tried)
    )
    return {row.id: Sent(*row) for row in rows}


def add(connection: Connection, rows: Sequence[dict[str, Any]]) -> set[tuple[str, str]]:
    """Insert events; return provider and id of those that nobody has told before."""
    return {(row.provider, row.event_id) for row in bulk.insert_new(connection, t, rows)}


def is_known(connection: Connection, provider: str, event_id: str) -> bool:
    """Tell whether this event has been told before."""
    same = select(t.c.kind).where(t.c.provider == provider, t.c.event_id == event_id)
    return connection.execute(same).first() is not None


def soft_bounces(
    connection: Connection, hashes: Collection[str], since: datetime
) -> dict[str, int]:
    """Return by address how many mails bounced softly since then and were not forgiven since."""
    good = t.alias("good")
    forgiven = select(good.c.event_id).where(
        good.c.address_hash == t.c.address_hash,
        good.c.kind.in_([Happened.DELIVERED.value, Happened.FORGIVEN.value]),
        good.c.at >= t.c.at,
    )
    rows = connection.execute(
        select(t.c.address_hash, func.count(distinct(t.c.outbox_id)))
        .where(
            bulk.any_of(connection, t.c.address_hash, hashes),
            t.c.at > since,
            t.c.kind == Happened.SOFT_BOUNCE.value,
            ~forgiven.exists(),
        )
        .group_by(t.c.address_hash)
    )
    return {row[0]: row[1] for row in rows}


def subscriptions_of(connection: Connection, subscriber_ids: Collection[UUID]) -> set[UUID]:
    """Return the ids of every subscription of these subscribers."""
    owned = bulk.any_of(connection, subscriptions.c.subscriber_id, subscriber_ids)
    return set(connection.scalars(select(subscriptions.c.id).where(owned)))
