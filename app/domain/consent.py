"""The consent record: events that each seal the one before with a hash.

Law: GDPR article 7(1), the controller shall be able to demonstrate consent. Personal values can be
removed without breaking the chain, because the hash covers only their salted digests.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from app.domain.subscription import Kind

FORMAT = 1
GENESIS = "0" * 64
PERSONAL = ("address", "page_url", "ip", "user_agent", "evidence")
SALT_BYTES = 16
_HASHED = (
    "subscription_id",
    "subscriber_id",
    "sequence",
    "generation",
    "kind",
    "at",
    "newsletter",
    "policy_version",
    "wording",
    "locale",
    "method",
    "confirms",
    "actor",
    "format",
    *(f"{name}_digest" for name in PERSONAL),
)

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: the last sequence number (0 before the first event) and its hash."""

    sequence: int = 0
    hash: str = GENESIS


NO_EVENTS = Head()


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What a person, an admin or the service did, before it has its place in a chain."""

    kind: Kind
    at: datetime
    newsletter: str
    method: str
    policy_version: str | None = None
    wording: str | None = None
    locale: str | None = None
    confirms: int | None = None
    actor: str | None = None
    address: str | None = None
    page_url: str | None = None
    ip: str | None = None
    user_agent: str | None = None
    evidence: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where an act is recorded: whose it is, in which generation, and after what."""

    subscription_id: UUID
    subscriber_id: UUID
    generation: int
    head: Head


def record(act: Act, place: Place, entropy: bytes) -> dict[str, object]:
    """Return the event as columns, sealed; `entropy` has 16 bytes for each personal field."""
    row: dict[str, object] = {
        "subscription_id": place.subscription_id,
        "subscriber_id": place.subscriber_id,
        "sequence": place.head.sequence + 1,
        "generation": place.generation,
        "kind": act.kind.value,
        "at": act.at,
        "newsletter": act.newsletter,
        "policy_version": act.policy_version,
        "wording": act.wording,
        "locale": act.locale,
        "method": act.method,
        "confirms": act.confirms,
        "actor": act.actor,
        "format": FORMAT,
        "previous_hash": place.head.hash,
    }
    for index, name in enumerate(PERSONAL):
        value = getattr(act, name)
        salt = entropy[index * SALT_BYTES : (index + 1) * SALT_BYTES]
        row[name] = value
        row[f"{name}_salt"] = None if value is None else salt
        row[f"{name}_digest"] = None if value is None else digest(salt, value)
    row["hash"] = seal(row)
    return row


def head_of(row: Row) -> Head:
    """Return the head of the chain that ends with this event."""
    return Head(int(str(row["sequence"])), str(row["hash"]))


def digest(salt: bytes, value: str) -> str:
    """Return hex SHA-256 over the salt and the value in UTF-8."""
    return hashlib.sha256(salt + value.encode()).hexdigest()


def seal(row: Row) -> str:
    """Return hex SHA-256 over the previous hash in ASCII and the event as canonical JSON."""
    return hashlib.sha256(str(row["previous_hash"]).encode("ascii") + canonical(row)).hexdigest()


def canonical(row: Row) -> bytes:
    """Return the hashed columns as JSON: sorted keys, no spaces, times to the microsecond."""
    fields = {name: _plain(row[name]) for name in _HASHED}
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return str(value) if isinstance(value, UUID) else value


def fault_in(row: Row, head: Head, *, redacted: bool) -> str | None:
    """Say what is wrong with the event that should follow `head`, or None.

    `redacted`: a later event of the chain allows that personal values are gone.
    """
    if row["sequence"] != head.sequence + 1:
        return f"expected sequence {head.sequence + 1}"
    if row["format"] != FORMAT:
        return f"unknown format {row['format']}"
    if row["previous_hash"] != head.hash:
        return "previous_hash does not match the event before"
    try:
        if row["hash"] != seal(row):
            return "hash does not match the contents"
    except (TypeError, ValueError):
        return "contents cannot be read"
    return next((f for name in PERSONAL if (f := _personal_fault(row, name, redacted))), None)


def _personal_fault(row: Row, name: str, redacted: bool) -> str | None:  # noqa: FBT001 - passed on
    value, salt, stored = row[name], row[f"{name}_salt"], row[f"{name}_digest"]
    if stored is None:
        return None if value is None and salt is None else f"{name} was added"
    if value is None and salt is None:
        return None if redacted else f"{name} is gone and nothing allows it"
    if not isinstance(value, str) or not isinstance(salt, bytes):
        return f"{name} or its salt is gone"
    return None if digest(salt, value) == stored else f"{name} does not match its digest"


def redaction_end(kinds: Mapping[int, str]) -> int:
    """Return up to which sequence number personal values may be gone, 0 for none.

    `kinds` maps sequence numbers to kinds. An `erased` event covers all before it; an `expired`
    one only where nothing was ever confirmed.
    """
    end = 0
    confirmed = False
    # SQLite keeps a forged sequence of another type, and nothing sorts among those.
    for sequence, kind in sorted(item for item in kinds.items() if isinstance(item[0], int)):
        confirmed = confirmed or kind in {Kind.CONFIRMED, Kind.IMPORTED}
        if kind == Kind.ERASED or (kind == Kind.EXPIRED and not confirmed):
            end = sequence
    return end
