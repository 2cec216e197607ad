"""Subscribers, inserted by SQL past the door."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.engine import Connection

from app.db import bulk, suppressions, tables
from app.domain.subscription import Reason
from app.services.house import House

DAY = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass
class Person:
    """A subscriber to insert: `held` maps newsletters to status and confirmed_at."""

    email: str
    held: dict[str, tuple[str, datetime | None]] = field(default_factory=dict)
    name: str | None = None
    locale: str | None = None
    created_at: datetime = DAY
    suppressed: Reason | None = None


def insert(connection: Connection, people: list[Person], house: House) -> None:
    """Insert people with their subscriptions and suppressions."""
    owners = [_owner(person, house) for person in people]
    both = list(zip(people, owners, strict=True))
    held = [row for person, owner in both for row in _held(person, owner["id"], house)]
    bulk.insert(connection, tables.subscribers, owners)
    bulk.insert(connection, tables.subscriptions, held)
    blocked = [(owner["email_hash"], p.suppressed) for p, owner in both if p.suppressed]
    suppressions.add(connection, blocked, DAY)


def _owner(person: Person, house: House) -> dict[str, Any]:
    key = person.email.lower()
    return {
        "id": house.new_id(),
        "email": person.email,
        "email_key": key,
        "email_hash": house.address_hash(key),
        "name": person.name,
        "locale": person.locale,
        "created_at": person.created_at,
    }


def _held(person: Person, owner: UUID, house: House) -> list[dict[str, Any]]:
    return [
        {
            "id": house.new_id(),
            "subscriber_id": owner,
            "newsletter": slug,
            "status": status,
            "generation": 1,
            "sequence": 1,
            "head_hash": "0" * 64,
            "requested_at": person.created_at,
            "confirmed_at": confirmed_at,
        }
        for slug, (status, confirmed_at) in person.held.items()
    ]
