"""Mail that is due: taken in hand, written out, settled by what the transport said."""

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.engine import Connection

from app.db import leases, newsletters, outbox, settlements, transports
from app.db.leases import Lease, Reach
from app.db.settlements import Settlement
from app.db.transports import Pause
from app.domain.errors import Conflict, NotFound
from app.domain.retry import GIVE_UP_AFTER, Decision, Outcome, Try, Verdict, decide
from app.domain.subscription import SELF_SERVICE_FOR, Mail
from app.languages import catalogs as languages
from app.mail.compose import Letter, Letterhead, compose
from app.mail.message import Message
from app.services import breakers, links, paces, return_paths, subscriptions
from app.services.commands import Bounce
from app.services.house import House
from app.services.paces import Pace

_LINKS = {Mail.CONFIRM.value, Mail.PREFERENCES_LINK.value}
"""Mail that is of no use when its link has expired."""
_ROUNDS = 5
_MOST = 500
"""So many rounds of a claim, and of so many mails, are made to get past what is put off."""


@dataclass(frozen=True, slots=True)
class Hand:
    """What a claim brought: leases, and what mail shows of each newsletter.

    `wait` is the seconds until it is worth asking again, if the pace is why there is nothing.
    """

    leases: list[Lease] = field(default_factory=list)
    letterheads: dict[str, Letterhead] = field(default_factory=dict)
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """A message that was on the wire, and what was said of it."""

    lease: Lease
    verdict: Verdict


def claim(
    connection: Connection,
    house: House,
    worker: str,
    transport: str,
    limit: int,
    reach: Reach = Reach.SUSPECTS,
) -> Hand:
    """Lease what is due, unless the transport rests; after a rest, one message probes."""
    now = house.shared_clock(connection)
    pause = transports.read(connection, transport)
    if pause is not None:
        if pause.until is not None and pause.until > now:
            return Hand()
        limit = 1
    pace = paces.load(connection, house, transport, now)
    if pace is not None and pace.limit is not None:
        limit = min(limit, pace.limit)
        if not limit:
            return Hand(wait=pace.wait)
    take = functools.partial(
        leases.claim, connection, worker, now=now, confirm_ttl=house.confirm_ttl, reach=reach
    )
    claimed = take(limit) if pace is None else _within(connection, pace, take, limit)
    if claimed is None:
        return Hand(wait=0)
    if claimed and pause is not None:
        if not transports.take_probe(connection, transport, now, now + leases.LEASE):
            leases.give_back(connection, claimed)
            return Hand()
        claimed = [replace(lease, probe=True) for lease in claimed]
    return Hand(claimed, _letterheads(connection, house)) if claimed else Hand()


def _within(
    connection: Connection, pace: Pace, take: Callable[..., list[Lease]], room: int
) -> list[Lease] | None:
    """Claim what the pace allows; None if all that was found had to be put off for its domain.

    What is put off makes room for what is behind it: a slow domain uses up nobody else's rate.
    """
    going: list[Lease] = []
    asked, late = room, False
    for _ in range(_ROUNDS):
        found = take(asked, reach=Reach.DUE) if going else take(asked)  # a suspect goes alone
        more, put_off = paces.take(pace, found, room - len(going))
        leaving = {lease.id for lease in more}
        leases.give_back(connection, [le for le in found if le.id not in leaving], put_off)
        going += more
        late = bool(put_off)
        if not late or len(going) == room:
            break
        asked = room - len(going) if more else min(_MOST, 4 * asked)
    paces.save(connection, pace)
    return None if late and not going else going


def _letterheads(connection: Connection, house: House) -> dict[str, Letterhead]:
    host = urlsplit(house.base_url).hostname or "localhost"
    shown = newsletters.letterheads(connection)
    return {slug: Letterhead(**values, host=host) for slug, values in shown.items()}


def give_back(connection: Connection, untried: Sequence[Lease]) -> None:
    """Return messages that were never tried, for any worker to take at once."""
    leases.give_back(connection, untried)


def renew(connection: Connection, house: House, worker: str, ids: Sequence[int]) -> set[int]:
    """Prolong leases; return the ids of those that are still ours."""
    return leases.renew(connection, worker, ids, house.shared_clock(connection))


def message(house: House, lease: Lease, letterhead: Letterhead) -> Message:
    """Return the mail for the wire: the same bytes at every try. Raises ValueError."""
    unsubscribe = links.unsubscribe_url(house, lease.subscription_id, lease.created_at)
    letter = Letter(
        id=lease.id,
        created_at=lease.created_at,
        recipient=lease.email,
        action_url=_action(house, lease),
        unsubscribe_url=unsubscribe,
        return_path=return_paths.make(house, lease.id),
    )
    language = languages.choose(lease.locale, letterhead.locale)
    filled = compose(lease.kind, letterhead, language).fill(letter)
    if house.dkim is None:
        return filled
    return replace(filled, content=house.dkim.sign(filled.content), is_clean=False)


def _action(house: House, lease: Lease) -> str | None:
    """Return where the button leads, for mail that has one."""
    if lease.kind == Mail.CONFIRM:
        request = (lease.subscription_id, lease.generation, lease.sequence or 0)
        return links.confirm_url(house, *request, lease.created_at)
    if lease.kind == Mail.PREFERENCES_LINK and lease.subscriber_id is not None:
        return links.self_service_url(house, lease.subscriber_id, lease.id, lease.created_at)
    return None


def is_plain(tried: Sequence[Tried]) -> bool:
    """Tell whether all were sent and none was a probe: then `settle_sent` is enough."""
    return all(t.verdict.outcome is Outcome.SENT and not t.lease.probe for t in tried)


def settle_sent(connection: Connection, house: House, tried: Sequence[Tried]) -> None:
    """Write that messages were sent, in one statement; nothing else follows from that."""
    sent = [(t.lease.id, _told(t), t.verdict.provider_id) for t in tried]
    settlements.write_sent(connection, sent, house.clock())


def settle(connection: Connection, house: House, transport: str, tried: Sequence[Tried]) -> bool:
    """Write what became of messages, and what follows for addresses and for the transport.

    Returns whether the transport rests now.
    """
    now = house.shared_clock(connection)
    resting = transports.read(connection, transport)
    probed = any(t.lease.probe for t in tried)
    # What was on the wire when the rest began says nothing new.
    failures = resting.failures + probed if resting else 1
    decided = [(t, decide(t.verdict, _try(house, t, failures, now))) for t in tried]
    bounced = [Bounce(subscription=t.lease.subscription_id) for t, d in decided if d.suppress]
    if bounced:
        subscriptions.apply(connection, bounced, house)
    settlements.write(connection, [_settlement(t, decision, now) for t, decision in decided], now)
    sent = [t.lease for t in tried if t.verdict.outcome is Outcome.SENT]
    if resting is not None and any(lease.probe for lease in sent):
        transports.resume(connection, transport)
        return False
    pauses = [(d.pause, t.verdict) for t, d in decided if d.pause is not None]
    if sent:  # what goes wrong beside it is about one connection, unless we are asked to wait
        pauses = [(pause, verdict) for pause, verdict in pauses if verdict.retry_after]
    if not pauses:
        if resting and probed:  # about that recipient only: probe with the next at once
            transports.pause(connection, transport, replace(resting, until=now))
        return resting is not None
    longest, verdict = max(pauses, key=lambda pause: pause[0])
    if resting and not probed and resting.until is not None and resting.until >= now + longest:
        return True  # what was on the wire does not end a longer rest
    reason = f"{verdict.outcome} {verdict.detail}".strip()
    since = resting.since if resting else now
    transports.pause(connection, transport, Pause(now + longest, reason, since, failures))
    return True


def _try(house: House, tried: Tried, failures: int, now: datetime) -> Try:
    return Try(
        attempts=tried.lease.attempts + 1,
        failures=failures,
        age=now - tried.lease.created_at,
        lifetime=_lifetime(house, tried.lease.kind),
        jitter=random.random(),  # noqa: S311 - spreads retries, keeps no secret
    )


def _lifetime(house: House, kind: str) -> timedelta:
    """Return how long it makes sense to send a mail of this kind."""
    if kind == Mail.CONFIRM:
        return house.confirm_ttl
    return SELF_SERVICE_FOR if kind == Mail.PREFERENCES_LINK else GIVE_UP_AFTER


def _told(tried: Tried) -> str:
    """Return the outcome as the row shows it."""
    return f"{tried.verdict.outcome} {tried.verdict.detail}".rstrip()


def _settlement(tried: Tried, decision: Decision, now: datetime) -> Settlement:
    return Settlement(
        lease=tried.lease,
        state=decision.state,
        outcome=_told(tried),
        provider_id=tried.verdict.provider_id,
        due_at=None if decision.delay is None else now + decision.delay,
    )


def retry(
    connection: Connection, house: House, message: int, newsletter: str | None
) -> dict[str, Any]:
    """Give a held message another try now, and return it.

    `newsletter`: the only one whose mail may be touched, if there is a limit. Raises NotFound, or
    Conflict if the message is not held or could not be of any use.
    """
    row = outbox.read(connection, message)
    if row is None or newsletter not in {None, row["newsletter"]}:
        raise NotFound("There is no such message.")
    if row["state"] != outbox.State.HELD:
        raise Conflict(f"This message is {row['state']}. Only one that is held can be retried.")
    now = house.shared_clock(connection)
    if row["kind"] in _LINKS and row["created_at"] <= now - _lifetime(house, row["kind"]):
        raise Conflict("Its link has expired. The person has to ask again.")
    if not outbox.requeue(connection, message, now):
        raise Conflict("This message is not held any more.")
    outbox.wake(connection)
    return outbox.read(connection, message) or row


def resume(connection: Connection, house: House, transport: str | None) -> list[str]:
    """Let mail leave at once through every transport that rests, or one; return their names.

    Without a name also what the circuit breaker on confirmation mails holds back: `confirm`.
    """
    # The breaker first, then mail, then transports, as others lock them: nobody deadlocks.
    released = transport is None and breakers.release(connection, house)
    resting = sorted(transports.read_all(connection))
    resumed = [name for name in resting if transport in {None, name}]
    if resumed:
        outbox.hasten(connection, house.shared_clock(connection))
        for name in resumed:
            transports.resume(connection, name)
        outbox.wake(connection)
    return [*resumed, Mail.CONFIRM.value] if released else resumed
