"""What can be asked of the door, and what it answers."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from app.db.newsletters import Newsletter
from app.domain.address import Address
from app.domain.errors import Problem
from app.domain.subscription import Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a command came from, for the record."""

    method: str
    ip: str | None = None
    user_agent: str | None = None
    page_url: str | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignUp:
    """Somebody asks for a newsletter; it need not be the owner of the address.

    `proven`: it is, by a link that was mailed just now. Then there is nothing left to confirm.
    """

    address: Address
    source: Source
    newsletter: str | None = None
    policy_version: str | None = None
    wording: str | None = None
    name: str | None = None
    locale: str | None = None
    proven: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AskLink:
    """Somebody wants the link to change everything mailed to an address."""

    address: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Erase:
    """The subscriber wants to be forgotten (GDPR article 17)."""

    subscriber: UUID
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """The owner of the address agrees, by the link of one request."""

    subscription: UUID
    generation: int
    sequence: int
    expired: bool
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """The subscriber leaves one newsletter."""

    subscription: UUID
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """The subscriber left by mistake, just now."""

    subscription: UUID
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The subscriber wants no issues until a time, or wants them again."""

    subscription: UUID
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explain:
    """The subscriber who has left says why."""

    subscription: UUID
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Complain:
    """The subscriber marked a mail of ours as spam (RFC 5965)."""

    subscription: UUID
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounce:
    """The mailbox does not exist: a hard bounce."""

    subscription: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """An admin adds somebody whose consent was given elsewhere, with the evidence."""

    address: Address
    newsletter: str
    evidence: str
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Remind:
    """Nobody has confirmed for a day, and the newsletter reminds once."""

    subscription: UUID
    address: Address
    newsletter: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    """Nobody confirmed since `before`."""

    subscription: UUID
    before: datetime


Command = (
    SignUp
    | AskLink
    | Confirm
    | Unsubscribe
    | Undo
    | Pause
    | Explain
    | Erase
    | Complain
    | Bounce
    | Import
    | Remind
    | Expire
)


class Answer(StrEnum):
    """What a command came to."""

    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"
    ALREADY_CONFIRMED = "already_confirmed"
    LINK_EXPIRED = "link_expired"
    LEFT_SINCE = "left_since"
    LEFT = "left"
    TOO_LATE = "too_late"
    DONE = "done"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Done:
    """The answer, and if that is known the newsletter that it is about, the person and the locale.

    `can_undo`: the person has just left and may take it back.
    """

    answer: Answer
    newsletter: Newsletter | None = None
    locale: str | None = None
    subscriber: UUID | None = None
    can_undo: bool = False


Result = Done | Problem
