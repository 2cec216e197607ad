"""API keys: made, checked, revoked."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy.engine import Connection

from app.db import keys, newsletters
from app.domain.errors import Fault, Forbidden, Invalid, NotFound, Unauthenticated

_TOUCH_EVERY = timedelta(minutes=1)


class Scope(StrEnum):
    """What a key may do; `admin` may do everything, and manage keys."""

    SUBSCRIBERS_READ = "subscribers:read"
    SUBSCRIBERS_WRITE = "subscribers:write"
    SUBSCRIBERS_EXPORT = "subscribers:export"
    NEWSLETTERS_WRITE = "newsletters:write"
    ISSUES_WRITE = "issues:write"
    ISSUES_SEND = "issues:send"
    FEEDBACK_WRITE = "feedback:write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Key:
    """A key that was presented and is valid; `newsletter` limits it to one."""

    id: str
    scopes: frozenset[str]
    newsletter: str | None
    is_stale: bool

    def require(self, scope: Scope | None) -> None:
        """Raise Forbidden unless the key has the scope."""
        if scope is not None and not {scope, Scope.ADMIN} & self.scopes:
            raise Forbidden(f"This key does not have the scope {scope}.")

    def require_newsletter(self, slug: str | None) -> None:
        """Raise Forbidden if the key is limited to another newsletter."""
        if self.newsletter is not None and self.newsletter != slug:
            raise Forbidden(f"This key is limited to the newsletter {self.newsletter}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a new key should be."""

    name: str
    scopes: Sequence[Scope]
    newsletter: str | None = None
    expires_at: datetime | None = None


def create(connection: Connection, wish: Wish, now: datetime) -> str:
    """Make a key and return it; it is shown this once and only its hash is kept."""
    if not wish.scopes:
        raise Invalid([Fault("/scopes", "Give the key at least one scope.")])
    if wish.newsletter is not None and newsletters.read(connection, wish.newsletter) is None:
        raise Invalid([Fault("/newsletter", "There is no such newsletter.")])
    key_id, secret = secrets.token_hex(5), secrets.token_urlsafe(32)
    key = f"nl_{key_id}_{secret}"
    row = {
        "id": key_id,
        "name": wish.name,
        "hash": _hash(key),
        "scopes": sorted({scope.value for scope in wish.scopes}),
        "newsletter": wish.newsletter,
        "created_at": now,
        "expires_at": wish.expires_at,
    }
    keys.add(connection, row)
    return key


def check(connection: Connection, presented: str, now: datetime) -> Key:
    """Return the key if it is known, not revoked and not expired; else raise Unauthenticated."""
    parts = presented.split("_", 2)
    row = keys.read(connection, parts[1]) if len(parts) == 3 and parts[0] == "nl" else None  # noqa: PLR2004
    stored = row["hash"] if row else ""
    if row is None or not hmac.compare_digest(stored, _hash(presented)):
        raise Unauthenticated("This key is not valid.")
    if row["revoked_at"] is not None or (row["expires_at"] and row["expires_at"] <= now):
        raise Unauthenticated("This key is not valid.")
    used = row["last_used_at"]
    is_stale = used is None or now - used >= _TOUCH_EVERY
    return Key(row["id"], frozenset(row["scopes"]), row["newsletter"], is_stale)


def revoke(connection: Connection, key_id: str, now: datetime) -> None:
    """Revoke a key by its id, at once; raises NotFound if there is none."""
    if not keys.revoke(connection, key_id, now):
        raise NotFound("There is no valid key with this id.")


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
