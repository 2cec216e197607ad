"""Subscribers as admins see them: filtered, sorted, one keyset page at a time."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, func, literal, or_, select, tuple_, update

from app.db import bulk, suppressions
from app.db.tables import subscribers as t
from app.db.tables import subscriptions as s


class Sort(StrEnum):
    """The orders of the list; a minus sign means newest or last first."""

    CREATED = "created_at"
    NEWEST = "-created_at"
    EMAIL = "email"
    EMAIL_DOWN = "-email"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which subscribers; newsletter, status and confirmed dates must hold for one subscription."""

    email_key: str | None = None
    q: str | None = None
    newsletter: str | None = None
    status: str | None = None
    locale: str | None = None
    suppressed: bool | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    confirmed_after: datetime | None = None
    confirmed_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """The last row of the page before."""

    id: UUID
    created_at: datetime
    email_key: str


def page(
    connection: Connection, wanted: Filter, sort: Sort, after: Position | None, limit: int
) -> list[dict[str, Any]]:
    """Return up to `limit` subscribers after a position."""
    column = t.c.email_key if sort in {Sort.EMAIL, Sort.EMAIL_DOWN} else t.c.created_at
    is_down = sort.value.startswith("-")
    statement = _filtered(select(*_columns()), wanted)
    if after is not None:
        value = after.email_key if column is t.c.email_key else after.created_at
        here = tuple_(column, t.c.id)
        there = tuple_(literal(value, column.type), literal(after.id, t.c.id.type))
        statement = statement.where(here < there if is_down else here > there)
    order = (column.desc(), t.c.id.desc()) if is_down else (column, t.c.id)
    rows = connection.execute(statement.order_by(*order).limit(limit)).mappings()
    return _with_subscriptions(connection, [dict(row) for row in rows])


def count(connection: Connection, wanted: Filter, cap: int) -> int:
    """Return how many match, counted up to `cap`."""
    matching = _filtered(select(t.c.id), wanted).limit(cap).subquery()
    return connection.execute(select(func.count()).select_from(matching)).scalar_one()


def read(connection: Connection, subscriber_id: UUID) -> dict[str, Any] | None:
    """Return one subscriber."""
    statement = select(*_columns()).where(t.c.id == subscriber_id)
    rows = [dict(row) for row in connection.execute(statement).mappings()]
    return _with_subscriptions(connection, rows)[0] if rows else None


def rename(
    connection: Connection, subscriber_id: UUID, name: str | None, locale: str | None
) -> None:
    """Give a subscriber another name and locale."""
    connection.execute(update(t).where(t.c.id == subscriber_id).values(name=name, locale=locale))


def find(connection: Connection, email_key: str) -> UUID | None:
    """Return the id of an address."""
    return connection.execute(select(t.c.id).where(t.c.email_key == email_key)).scalar()


def position(connection: Connection, subscriber_id: UUID) -> Position | None:
    """Return where a subscriber stands in every order; None if it is gone."""
    row = connection.execute(
        select(t.c.id, t.c.created_at, t.c.email_key).where(t.c.id == subscriber_id)
    ).first()
    return Position(*row) if row else None


def _columns() -> Sequence[ColumnElement[Any]]:
    shown = (t.c.id, t.c.email, t.c.name, t.c.locale, t.c.attributes, t.c.created_at)
    return (*shown, suppressions.is_blocked().label("suppressed"))


def _filtered(statement: Select[Any], wanted: Filter) -> Select[Any]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.email_key is not None:
        conditions.append(t.c.email_key == wanted.email_key)
    if wanted.q is not None:
        parts = (
            c.icontains(wanted.q, autoescape=True) for c in (t.c.email_key, t.c.email, t.c.name)
        )
        conditions.append(or_(*parts))
    if wanted.locale is not None:
        conditions.append(t.c.locale == wanted.locale)
    if wanted.suppressed is not None:
        blocked = suppressions.is_blocked()
        conditions.append(blocked if wanted.suppressed else ~blocked)
    if wanted.created_after is not None:
        conditions.append(t.c.created_at >= wanted.created_after)
    if wanted.created_before is not None:
        conditions.append(t.c.created_at < wanted.created_before)
    one = _one_subscription(wanted)
    if one:
        conditions.append(select(s.c.id).where(s.c.subscriber_id == t.c.id, *one).exists())
    return statement.where(*conditions)


def _one_subscription(wanted: Filter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.newsletter is not None:
        conditions.append(s.c.newsletter == wanted.newsletter)
    if wanted.status is not None:
        conditions.append(s.c.status == wanted.status)
    if wanted.confirmed_after is not None:
        conditions.append(s.c.confirmed_at >= wanted.confirmed_after)
    if wanted.confirmed_before is not None:
        conditions.append(s.c.confirmed_at < wanted.confirmed_before)
    return conditions


_SHOWN = (
    s.c.newsletter,
    s.c.status,
    s.c.requested_at,
    s.c.confirmed_at,
    s.c.ended_at,
    s.c.paused_until,
)


def _with_subscriptions(
    connection: Connection, items: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Add each subscriber's subscriptions, read in one statement."""
    owned: dict[UUID, list[dict[str, Any]]] = {item["id"]: [] for item in items}
    for row in _subscriptions(connection, owned):
        values = dict(row)
        owned[values.pop("subscriber_id")].append(values)
    return [{**item, "subscriptions": owned[item["id"]]} for item in items]


def _subscriptions(connection: Connection, ids: Collection[UUID]) -> Sequence[Any]:
    if not ids:
        return []
    statement = select(s.c.subscriber_id, *_SHOWN).where(
        bulk.any_of(connection, s.c.subscriber_id, ids)
    )
    return connection.execute(statement.order_by(s.c.newsletter)).mappings().all()
