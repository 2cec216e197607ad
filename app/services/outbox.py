"""Mail that is due: taken in hand, written out, settled by what the transport said."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from sqlalchemy.engine import Connection

from app.db import outbox, transports
from app.db.outbox import Lease, Settlement
from app.db.transports import Pause
from app.domain.address import envelope
from app.domain.retry import GIVE_UP_AFTER, Outcome, Verdict, decide
from app.domain.subscription import Mail
from app.mail.compose import Letter, Letterhead, compose
from app.mail.message import Message
from app.services import links, subscriptions
from app.services.commands import Bounce
from app.services.house import House


@dataclass(frozen=True, slots=True)
class Hand:
    """What a claim brought: leases, until when they hold, what mail shows of each newsletter."""

    leases: list[Lease]
    until: datetime | None
    letterheads: dict[str, Letterhead]
    next_due: datetime | None


@dataclass(frozen=True, slots=True)
class Tried:
    """A message that was on the wire, and what was said of it."""

    lease: Lease
    verdict: Verdict


def claim(connection: Connection, house: House, worker: str, transport: str, limit: int) -> Hand:
    """Lease what is due, unless the transport rests; after a rest, one message probes."""
    pause = transports.read(connection, transport)
    if pause is not None:
        if pause.until is not None and pause.until > outbox.database_time(connection):
            return Hand([], None, {}, pause.until)
        limit = 1
    leases, until = outbox.claim(connection, worker, limit, house.confirm_ttl)
    if not leases:
        return Hand([], None, {}, outbox.next_due(connection))
    host = urlsplit(house.base_url).hostname or "localhost"
    shown = outbox.letterheads(connection)
    heads = {slug: Letterhead(**values, host=host) for slug, values in shown.items()}
    return Hand(leases, until, heads, None)


def message(house: House, lease: Lease, letterhead: Letterhead) -> Message:
    """Return the mail for the wire: the same bytes at every try. Raises ValueError."""
    unsubscribe = links.unsubscribe_url(house, lease.subscription_id, lease.created_at)
    action = None
    if lease.kind == Mail.CONFIRM:
        request = (lease.subscription_id, lease.generation, lease.sequence or 0)
        action = links.confirm_url(house, *request, lease.created_at)
    letter = Letter(
        id=lease.id,
        created_at=lease.created_at,
        recipient=envelope(lease.email),
        action_url=action,
        unsubscribe_url=unsubscribe,
    )
    return compose(lease.kind, letterhead).fill(letter)


def settle(connection: Connection, house: House, transport: str, tried: Sequence[Tried]) -> None:
    """Write what became of messages, and what follows for addresses and for the transport."""
    now = outbox.database_time(connection)
    decided = [(t, decide(t.verdict, t.lease.attempts + 1, *_ages(house, t, now))) for t in tried]
    bounced = [Bounce(subscription=t.lease.subscription_id) for t, d in decided if d.suppress]
    if bounced:
        subscriptions.apply(connection, bounced, house)
    done = [
        Settlement(
            lease=t.lease,
            state=decision.state,
            outcome=" ".join(filter(None, (t.verdict.outcome, t.verdict.detail))),
            provider_id=t.verdict.provider_id,
            due_at=None if decision.delay is None else now + decision.delay,
        )
        for t, decision in decided
    ]
    outbox.settle(connection, done)
    _rest_or_resume(connection, transport, tried, [d.pause for _, d in decided], now)


def _ages(house: House, tried: Tried, now: datetime) -> tuple[timedelta, timedelta, float]:
    is_confirm = tried.lease.kind == Mail.CONFIRM
    lifetime = house.confirm_ttl if is_confirm else GIVE_UP_AFTER
    return now - tried.lease.created_at, lifetime, random.random()  # noqa: S311 - spreads retries


def _rest_or_resume(
    connection: Connection,
    name: str,
    tried: Sequence[Tried],
    pauses: Sequence[timedelta | None],
    now: datetime,
) -> None:
    """Let the transport rest after a fault that is nobody's; any success ends the rest."""
    resting = transports.read(connection, name)
    if any(t.verdict.outcome is Outcome.SENT for t in tried):
        if resting is not None:
            transports.resume(connection, name)
        return
    longest = max((p for p in pauses if p is not None), default=None)
    if longest is None:
        return
    reason = next(t.verdict for t, p in zip(tried, pauses, strict=True) if p is not None)
    since = resting.since if resting else now
    failures = resting.failures + 1 if resting else 1
    found = Pause(now + longest, f"{reason.outcome} {reason.detail}".strip(), since, failures)
    transports.pause(connection, name, found)
