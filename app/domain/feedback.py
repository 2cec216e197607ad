"""What others tell of mail that we sent, in the same words whoever tells it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

SOFT_BOUNCES = 5
"""So many mails that bounced softly, with no delivery since, are as good as a hard bounce."""

SOFT_BOUNCE_WINDOW = timedelta(days=30)
"""Soft bounces older than this no longer count."""


class Happened(StrEnum):
    """What became of a mail after it was accepted; only some of these have consequences."""

    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    """The mailbox's server took it: earlier soft bounces are forgiven."""
    DEFERRED = "deferred"
    SOFT_BOUNCE = "soft_bounce"
    """Given up for a reason that may pass: a full mailbox, a server away for days."""
    HARD_BOUNCE = "hard_bounce"
    """The mailbox does not exist: suppressed."""
    COMPLAINT = "complaint"
    """Marked as spam (RFC 5965): unsubscribed and suppressed."""
    UNSUBSCRIBED = "unsubscribed"
    REJECTED = "rejected"
    """The provider did not even try."""
    FAILED = "failed"
    FORGIVEN = "forgiven"
    """An admin lifted the suppression: what bounced softly before does not count any more."""
    UNKNOWN = "unknown"
    """An event that we do not know: kept, and without consequence."""


@dataclass(frozen=True, slots=True)
class Report:
    """One event about one recipient.

    `event_id` is unique for the provider: the same event told twice counts once. `at` is when it
    happened. `outbox_id` is our own number of the mail as it came back (metadata, a signed
    address), `provider_id` what the provider called the mail; either may be missing. `recipient`
    is the address, if it was told. `detail` holds codes such as `5.1.1`, never free text, which
    may repeat the address.
    """

    provider: str
    event_id: str
    kind: Happened
    at: datetime
    outbox_id: int | None = None
    provider_id: str | None = None
    recipient: str | None = None
    detail: str = ""
