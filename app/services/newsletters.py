"""Newsletters: created and changed, each consent text registered as a wording."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from app.db import newsletters
from app.db.newsletters import Newsletter
from app.domain.errors import Conflict, NotFound
from app.services.consents import sha256

PROMISE = "No spam; unsubscribe easily at any time."

_DEFAULTS: dict[str, Any] = {
    "from_name": None,
    "reply_to": None,
    "pitch": "",
    "promise": PROMISE,
    "postal_address": None,
    "allowed_origins": [],
    "thank_you_url": None,
    "confirmed_url": None,
    "welcome": False,
    "archive": False,
    "reminder": False,
    "locale": "en",
    "is_default": False,
}


def create(connection: Connection, values: Mapping[str, Any], now: datetime) -> Newsletter:
    """Create a newsletter from at least slug, name and from_address.

    Raises Conflict if the slug is taken.
    """
    row = {**_DEFAULTS, **values, "created_at": now, "updated_at": now}
    row.setdefault("consent_text", f"Yes, please send me “{row['name']}” by e-mail.")
    row["wording"] = sha256(row["consent_text"])
    if newsletters.read(connection, row["slug"]) is not None:
        raise Conflict("There is a newsletter with this slug already.")
    if row["is_default"]:
        newsletters.clear_default(connection)
    try:
        newsletters.add(connection, row)
    except IntegrityError as error:
        detail = "Somebody else created this newsletter, or a default, just now. Look again."
        raise Conflict(detail) from error
    _register(connection, row, now)
    return _found(newsletters.read(connection, row["slug"]))


def change(
    connection: Connection, slug: str, values: Mapping[str, Any], now: datetime
) -> Newsletter:
    """Change some values; a new consent text becomes a new wording. Raises NotFound."""
    if values.get("is_default"):
        newsletters.clear_default(connection)
    before = _found(newsletters.read(connection, slug, lock=True))
    row = {**values, "updated_at": now}
    text = values.get("consent_text", before.consent_text)
    row["wording"] = sha256(text)
    newsletters.change(connection, slug, row)
    locale = values.get("locale", before.locale)
    _register(connection, {"slug": slug, "consent_text": text, "locale": locale, **row}, now)
    return _found(newsletters.read(connection, slug))


def _register(connection: Connection, row: Mapping[str, Any], now: datetime) -> None:
    newsletters.add_wording(
        connection,
        {
            "newsletter": row["slug"],
            "hash": row["wording"],
            "locale": row["locale"],
            "text": row["consent_text"],
            "created_at": now,
        },
    )


def _found(newsletter: Newsletter | None) -> Newsletter:
    if newsletter is None:
        raise NotFound("There is no such newsletter.")
    return newsletter
