"""Newsletters and the wordings that their forms show."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from app.db import bulk
from app.db.tables import newsletters as t
from app.db.tables import policies, wordings


@dataclass(frozen=True, slots=True, kw_only=True)
class Newsletter:
    """What people subscribe to."""

    slug: str
    name: str
    from_address: str
    from_name: str | None
    reply_to: str | None
    pitch: str
    promise: str
    consent_text: str
    wording: str
    postal_address: str | None
    allowed_origins: tuple[str, ...]
    thank_you_url: str | None
    confirmed_url: str | None
    welcome: bool
    archive: bool
    reminder: bool
    locale: str
    is_default: bool
    created_at: datetime
    updated_at: datetime


_COLUMNS = [t.c[field.name] for field in fields(Newsletter)]


def read_all(connection: Connection) -> list[Newsletter]:
    """Return every newsletter by slug."""
    return [
        _newsletter(row)
        for row in connection.execute(select(*_COLUMNS).order_by(t.c.slug)).mappings()
    ]


def read(connection: Connection, slug: str, *, lock: bool = False) -> Newsletter | None:
    """Return one newsletter, locked for a change if asked."""
    statement = select(*_COLUMNS).where(t.c.slug == slug)
    row = connection.execute(statement.with_for_update() if lock else statement).mappings().first()
    return _newsletter(row) if row else None


def _newsletter(row: Mapping[Any, Any]) -> Newsletter:
    return Newsletter(**{**row, "allowed_origins": tuple(row["allowed_origins"])})


def add(connection: Connection, values: Mapping[str, Any]) -> None:
    """Insert a newsletter; IntegrityError if the slug is taken."""
    connection.execute(insert(t).values(**values, revision=1))


def change(connection: Connection, slug: str, values: Mapping[str, Any]) -> None:
    """Change some columns of a newsletter."""
    connection.execute(
        update(t).where(t.c.slug == slug).values(**values, revision=t.c.revision + 1)
    )


def clear_default(connection: Connection) -> None:
    """Leave no newsletter marked as the default; whoever does so at the same time waits."""
    connection.execute(select(t.c.slug).order_by(t.c.slug).with_for_update())
    connection.execute(
        update(t).where(t.c.is_default).values(is_default=False, revision=t.c.revision + 1)
    )


def add_wording(connection: Connection, row: Mapping[str, Any]) -> None:
    """Register a consent text; the same text twice is one wording."""
    bulk.insert(connection, wordings, [row], on_conflict="skip")


def wording_locales(connection: Connection) -> dict[tuple[str, str], str]:
    """Return the language of each wording by (newsletter, hash)."""
    rows = connection.execute(select(wordings.c.newsletter, wordings.c.hash, wordings.c.locale))
    return {(row.newsletter, row.hash): row.locale for row in rows}


def wording_texts(connection: Connection) -> list[dict[str, Any]]:
    """Return every wording with its text."""
    statement = select(wordings).order_by(wordings.c.newsletter, wordings.c.created_at)
    return [dict(row) for row in connection.execute(statement).mappings()]


def stamp(connection: Connection) -> tuple[int, int, int]:
    """Return three numbers that change whenever a newsletter, wording or policy does.

    Counters and not times: the clocks of two processes may differ.
    """
    row = connection.execute(_STAMP).one()
    return (row[0], row[1], row[2])


_STAMP = select(
    select(func.coalesce(func.sum(t.c.revision), 0)).scalar_subquery(),
    select(func.count()).select_from(wordings).scalar_subquery(),
    select(func.count()).select_from(policies).scalar_subquery(),
)


def letterheads(connection: Connection) -> dict[str, dict[str, Any]]:
    """Return what mail shows of each newsletter, by slug."""
    n = t.c
    columns = (n.slug, n.name, n.from_address, n.from_name, n.reply_to, n.pitch, n.promise)
    rows = connection.execute(select(*columns, n.postal_address, n.locale)).mappings()
    return {row["slug"]: dict(row) for row in rows}
