"""The life of a subscription: one table of transitions, and the rules about its mail."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Status(StrEnum):
    """Where a subscription is; `None` stands for one that does not exist."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    UNSUBSCRIBED = "unsubscribed"


class Event(StrEnum):
    """What can happen to a subscription."""

    SIGN_UP = "sign_up"
    CONFIRM = "confirm"
    UNSUBSCRIBE = "unsubscribe"
    UNDO = "undo"
    JOIN = "join"
    ERASE = "erase"
    COMPLAINT = "complaint"
    HARD_BOUNCE = "hard_bounce"
    IMPORT = "import"
    EXPIRE = "expire"


class Kind(StrEnum):
    """The kinds of consent event."""

    REQUESTED = "requested"
    CONFIRMED = "confirmed"
    WITHDRAWN = "withdrawn"
    IMPORTED = "imported"
    ADDRESS_CHANGED = "address_changed"
    EXPIRED = "expired"
    ERASED = "erased"


class Mail(StrEnum):
    """The kinds of mail that a change of a subscription causes."""

    CONFIRM = "confirm"
    ALREADY_SUBSCRIBED = "already_subscribed"
    WELCOME = "welcome"
    PREFERENCES_LINK = "preferences_link"


class Reason(StrEnum):
    """Why an address is suppressed."""

    HARD_BOUNCE = "hard_bounce"
    COMPLAINT = "complaint"
    MANUAL = "manual"
    ERASED = "erased"


class Why(StrEnum):
    """Why somebody left, if they say so."""

    TOO_MANY = "too_many"
    NOT_FOR_ME = "not_for_me"
    NEVER_ASKED = "never_asked"
    OTHER = "other"


UNDO_FOR = timedelta(minutes=15)
"""So long a leaving can be taken back by the link that did it."""

SELF_SERVICE_FOR = timedelta(minutes=60)
"""So long the link works that somebody asked for to change everything."""

BLOCKING = frozenset({Reason.HARD_BOUNCE, Reason.COMPLAINT, Reason.MANUAL})
"""Reasons that stop all mail; `erased` stops only import and creation by an admin."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an event does: the new status, the line for the record, the mail, the suppression.

    `status` None means that there is no subscription afterwards.
    """

    status: Status | None
    consent: Kind | None = None
    mail: Mail | None = None
    suppress: Reason | None = None


_ASKED = Change(Status.PENDING, Kind.REQUESTED, Mail.CONFIRM)
_JOINED = Change(Status.CONFIRMED, Kind.CONFIRMED, Mail.WELCOME)
_ERASED = Change(None, Kind.ERASED, suppress=Reason.ERASED)
_IMPORTED = Change(Status.CONFIRMED, Kind.IMPORTED)
_LEFT = Change(Status.UNSUBSCRIBED, Kind.WITHDRAWN)
_COMPLAINED = Change(Status.UNSUBSCRIBED, Kind.WITHDRAWN, suppress=Reason.COMPLAINT)

_TRANSITIONS: dict[tuple[Status | None, Event], Change] = {
    (None, Event.SIGN_UP): _ASKED,
    (None, Event.COMPLAINT): Change(None, suppress=Reason.COMPLAINT),
    (None, Event.HARD_BOUNCE): Change(None, suppress=Reason.HARD_BOUNCE),
    (None, Event.IMPORT): _IMPORTED,
    (None, Event.JOIN): _JOINED,
    (Status.PENDING, Event.SIGN_UP): _ASKED,
    (Status.PENDING, Event.CONFIRM): Change(Status.CONFIRMED, Kind.CONFIRMED, Mail.WELCOME),
    (Status.PENDING, Event.UNSUBSCRIBE): _LEFT,
    (Status.PENDING, Event.COMPLAINT): _COMPLAINED,
    (Status.PENDING, Event.HARD_BOUNCE): Change(Status.PENDING, suppress=Reason.HARD_BOUNCE),
    (Status.PENDING, Event.IMPORT): _IMPORTED,
    (Status.PENDING, Event.JOIN): _JOINED,
    (Status.PENDING, Event.ERASE): _ERASED,
    # One that was confirmed in an earlier generation goes back to `unsubscribed`: see `step`.
    (Status.PENDING, Event.EXPIRE): Change(None, Kind.EXPIRED),
    (Status.CONFIRMED, Event.SIGN_UP): Change(Status.CONFIRMED, mail=Mail.ALREADY_SUBSCRIBED),
    (Status.CONFIRMED, Event.UNSUBSCRIBE): _LEFT,
    (Status.CONFIRMED, Event.COMPLAINT): _COMPLAINED,
    (Status.CONFIRMED, Event.HARD_BOUNCE): Change(Status.CONFIRMED, suppress=Reason.HARD_BOUNCE),
    (Status.CONFIRMED, Event.ERASE): _ERASED,
    (Status.UNSUBSCRIBED, Event.SIGN_UP): _ASKED,
    (Status.UNSUBSCRIBED, Event.JOIN): _JOINED,
    (Status.UNSUBSCRIBED, Event.ERASE): _ERASED,
    # Guarded: only what was confirmed before it was left by mistake, and only for a short while.
    (Status.UNSUBSCRIBED, Event.UNDO): Change(Status.CONFIRMED, Kind.CONFIRMED),
    (Status.UNSUBSCRIBED, Event.COMPLAINT): Change(Status.UNSUBSCRIBED, suppress=Reason.COMPLAINT),
    (Status.UNSUBSCRIBED, Event.HARD_BOUNCE): Change(
        Status.UNSUBSCRIBED, suppress=Reason.HARD_BOUNCE
    ),
}


def step(status: Status | None, event: Event, *, ever_confirmed: bool = False) -> Change:
    """Return what the event does in this status; a pair that is not in the table does nothing.

    `ever_confirmed`: an earlier generation was confirmed. Then expiry keeps the history.
    """
    if event is Event.EXPIRE and status is Status.PENDING and ever_confirmed:
        return Change(Status.UNSUBSCRIBED, Kind.EXPIRED)
    return _TRANSITIONS.get((status, event), Change(status))


def next_generation(generation: int, before: Status | None, after: Status | None) -> int:
    """Return the generation after a change: it rises only when the subscription becomes pending."""
    became_pending = after is Status.PENDING and before is not Status.PENDING
    return generation + 1 if became_pending else generation


_STATUS_AFTER = {
    Kind.REQUESTED: Status.PENDING,
    Kind.CONFIRMED: Status.CONFIRMED,
    Kind.IMPORTED: Status.CONFIRMED,
    Kind.WITHDRAWN: Status.UNSUBSCRIBED,
    Kind.EXPIRED: Status.UNSUBSCRIBED,
}


def status_after(kind: str) -> Status | None:
    """Return the status that the last event of a record leaves; None if it leaves any."""
    return _STATUS_AFTER.get(Kind(kind))
