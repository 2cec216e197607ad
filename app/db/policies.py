"""Published versions of the privacy policy; append only, the newest is current."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from app.db.tables import policies as t


@dataclass(frozen=True, slots=True)
class Policy:
    """One version: its label, where it stands, the SHA-256 of its text, since when."""

    version: str
    url: str
    sha256: str
    published_at: datetime


_COLUMNS = (t.c.version, t.c.url, t.c.sha256, t.c.published_at)


def read_all(connection: Connection) -> list[Policy]:
    """Return every version, newest first, without the texts."""
    rows = connection.execute(select(*_COLUMNS).order_by(t.c.id.desc()))
    return [Policy(*row) for row in rows]


def texts(connection: Connection) -> list[dict[str, Any]]:
    """Return every version with its text, oldest first."""
    statement = select(*_COLUMNS, t.c.text).order_by(t.c.id)
    return [dict(row) for row in connection.execute(statement).mappings()]


def read(connection: Connection, version: str) -> dict[str, Any] | None:
    """Return one version with its text."""
    row = (
        connection.execute(select(*_COLUMNS, t.c.text).where(t.c.version == version))
        .mappings()
        .first()
    )
    return dict(row) if row else None


def current(connection: Connection) -> dict[str, Any] | None:
    """Return the newest version with its text."""
    newest = select(*_COLUMNS, t.c.text).order_by(t.c.id.desc()).limit(1)
    row = connection.execute(newest).mappings().first()
    return dict(row) if row else None


def add(connection: Connection, policy: Policy, text: str) -> None:
    """Publish a version; IntegrityError if the label is taken."""
    connection.execute(
        insert(t).values(
            version=policy.version,
            url=policy.url,
            sha256=policy.sha256,
            published_at=policy.published_at,
            text=text,
        )
    )
