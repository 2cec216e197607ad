"""The append-only consent record."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, update

from app.db import bulk
from app.db.tables import consent_events as t
from app.db.tables import subscriptions
from app.domain.consent import PERSONAL, Head
from app.domain.subscription import Kind

_PAGE = 1_000


def append(connection: Connection, events: Sequence[dict[str, object]]) -> None:
    """Add events that are sealed already."""
    bulk.insert(connection, t, events)


def requested(
    connection: Connection, asked: Collection[tuple[UUID, int]]
) -> dict[tuple[UUID, int], Mapping[Any, Any]]:
    """Return what was agreed to (policy_version, wording, locale) by (subscription, sequence)."""
    if not asked:
        return {}
    rows = connection.execute(
        select(
            t.c.subscription_id, t.c.sequence, t.c.policy_version, t.c.wording, t.c.locale
        ).where(
            bulk.any_of(connection, t.c.subscription_id, {key[0] for key in asked}),
            bulk.any_of(connection, t.c.sequence, {key[1] for key in asked}),
            t.c.kind == Kind.REQUESTED.value,
        )
    )
    return {(row["subscription_id"], row["sequence"]): row for row in rows.mappings()}


def last_agreed(
    connection: Connection, subscription_ids: Collection[UUID]
) -> dict[UUID, Mapping[Any, Any]]:
    """Return the event by which each subscription was last confirmed, if it ever was."""
    if not subscription_ids:
        return {}
    rows = connection.execute(
        select(t)
        .where(
            bulk.any_of(connection, t.c.subscription_id, subscription_ids),
            t.c.kind.in_([Kind.CONFIRMED.value, Kind.IMPORTED.value]),
        )
        .order_by(t.c.sequence)
    )
    return {row["subscription_id"]: row for row in rows.mappings()}


def redact(connection: Connection, subscription_ids: Collection[UUID]) -> None:
    """Remove personal values and salts: the only change that the triggers allow."""
    gone = {column: None for name in PERSONAL for column in (name, f"{name}_salt")}
    condition = bulk.any_of(connection, t.c.subscription_id, subscription_ids)
    connection.execute(update(t).where(condition).values(gone))


def of_subscriber(connection: Connection, subscriber_id: UUID) -> list[dict[str, Any]]:
    """Return every event of one person, in order."""
    statement = select(t).where(t.c.subscriber_id == subscriber_id).order_by(t.c.at, t.c.id)
    return [dict(row) for row in connection.execute(statement).mappings()]


def chains(connection: Connection) -> Iterator[list[dict[str, Any]]]:
    """Yield the events of each subscription in order; one page of rows is in memory at a time."""
    chain: list[dict[str, Any]] = []
    for event in _all_events(connection):
        if chain and chain[0]["subscription_id"] != event["subscription_id"]:
            yield chain
            chain = []
        chain.append(event)
    if chain:
        yield chain


def _all_events(connection: Connection) -> Iterator[dict[str, Any]]:
    statement = select(t).order_by(t.c.subscription_id, t.c.sequence)
    # One cursor, not page after page by key: what somebody forged may not compare as keys do.
    events = connection.execute(statement, execution_options={"yield_per": _PAGE})
    return (dict(event) for event in events.mappings())


@dataclass(frozen=True, slots=True)
class Kept:
    """What a living subscription says of itself, to compare with its chain."""

    head: Head
    status: str


def heads(connection: Connection, subscription_ids: Collection[UUID]) -> dict[UUID, Kept]:
    """Return the head and the status that each living subscription keeps."""
    s = subscriptions.c
    rows = connection.execute(
        select(s.id, s.sequence, s.head_hash, s.status).where(
            bulk.any_of(connection, s.id, subscription_ids)
        )
    )
    return {row.id: Kept(Head(row.sequence, row.head_hash), row.status) for row in rows}


def subscriptions_of(connection: Connection, subscriber_id: UUID) -> set[UUID]:
    """Return the subscriptions of one person, each of which must have a chain."""
    owned = select(subscriptions.c.id).where(subscriptions.c.subscriber_id == subscriber_id)
    return set(connection.scalars(owned))


def unrecorded(connection: Connection) -> list[UUID]:
    """Return subscriptions whose whole chain is missing."""
    missing = ~select(t.c.id).where(t.c.subscription_id == subscriptions.c.id).exists()
    return list(
        connection.scalars(select(subscriptions.c.id).where(missing).order_by(subscriptions.c.id))
    )
