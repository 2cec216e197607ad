"""What others tell of our mail: kept once, matched to mail that we sent, and acted on."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.engine import Connection

from app.db import feedback
from app.db import subscriptions as rows
from app.db.feedback import Sent
from app.db.subscriptions import Subscription
from app.domain import address
from app.domain.feedback import SOFT_BOUNCE_WINDOW, SOFT_BOUNCES, Happened, Report
from app.services import subscriptions
from app.services.commands import Bounce, Command, Complain, Source, Unsubscribe
from app.services.house import House

log = structlog.get_logger()

_CONSEQUENTIAL = {
    Happened.SOFT_BOUNCE,
    Happened.HARD_BOUNCE,
    Happened.COMPLAINT,
    Happened.UNSUBSCRIBED,
}


@dataclass(frozen=True, slots=True)
class _Event:
    """A report, and the mail of ours that it is about if it is about one."""

    report: Report
    mail: Sent | None

    @property
    def key(self) -> tuple[str, str]:
        return self.report.provider, self.report.event_id


def receive(connection: Connection, house: House, reports: Sequence[Report]) -> int:
    """Keep each event that was not told before, and do what follows; return how many were new.

    An event can only touch mail that we sent: one that fits none is kept without consequence.
    What follows happens in the order of the events' times and through the one door. Events are
    written sorted and before the door locks anything, so that two processes cannot deadlock.
    """
    events = {event.key: event for event in _matched(connection, house, reports)}
    new = feedback.add(connection, [_row(house, events[key]) for key in sorted(events)])
    fresh = sorted((events[key] for key in new), key=lambda event: (event.report.at, event.key))
    commands = _commands(connection, house, [found for e in fresh if (found := _effective(e))])
    if commands:
        subscriptions.apply(connection, commands, house)
    log.info(
        "feedback",
        provider=", ".join(sorted({report.provider for report in reports})),
        kinds=dict(Counter(report.kind.value for report in reports)),
        new=len(fresh),
        matched=sum(event.mail is not None for event in fresh),
    )
    return len(fresh)


def forgive(connection: Connection, house: House, address_hash: str) -> None:
    """Let what bounced softly until now not count any more for an address."""
    now = house.clock()
    row = {"provider": "admin", "event_id": str(house.new_id()), "kind": Happened.FORGIVEN.value}
    told = {"at": now, "received_at": now, "outbox_id": None, "detail": ""}
    feedback.add(connection, [{**row, **told, "address_hash": address_hash}])


def _matched(connection: Connection, house: House, reports: Sequence[Report]) -> Iterable[_Event]:
    ids = {report.outbox_id for report in reports if report.outbox_id is not None}
    names = {bare for report in reports if (bare := _bare(report.provider_id))}
    mails = feedback.sent(connection, ids, names | {f"<{name}>" for name in names})
    named: dict[str | None, list[Sent]] = {}
    for mail in mails.values():
        named.setdefault(_bare(mail.provider_id), []).append(mail)
    for report in reports:
        known = mails.get(report.outbox_id) if report.outbox_id is not None else None
        candidates = [known] if known else []
        if report.outbox_id is None and report.provider_id:
            candidates = named.get(_bare(report.provider_id), [])
        # Some providers name a whole batch: then only the recipient tells which mail is meant.
        fitting = [mail for mail in candidates if _fits(house, report, mail)]
        yield _Event(report, fitting[0] if len(fitting) == 1 else None)


def _bare(provider_id: str | None) -> str | None:
    """Return a provider's name for a mail; some write a Message-ID with its brackets or without."""
    return provider_id.strip("<>") if provider_id else None


def _fits(house: House, report: Report, mail: Sent) -> bool:
    names = {_bare(report.provider_id), _bare(mail.provider_id)} - {None}
    if report.recipient is None or mail.email_hash is None:
        return len(names) <= 1
    try:
        key = address.parse(report.recipient).key
    except ValueError:
        return False
    # A mail whose first acceptance got lost has gone twice, and only the last name is known.
    is_named = len(names) <= 1 or report.outbox_id is not None
    return is_named and house.address_hash(key) == mail.email_hash


def _row(house: House, event: _Event) -> dict[str, object]:
    now, report, mail = house.clock(), event.report, event.mail
    return {
        "provider": report.provider,
        "event_id": report.event_id,
        "kind": report.kind.value,
        "at": min(report.at, now),  # a clock that is ahead must not forgive what is to come
        "received_at": now,
        "outbox_id": mail.id if mail else None,
        "address_hash": mail.email_hash if mail else None,
        "detail": report.detail,
    }


def _effective(event: _Event) -> tuple[Report, Sent] | None:
    """Return the event if something follows from it: its subscriber has to be there still."""
    if event.mail is None or event.mail.email_hash is None:
        return None
    return (event.report, event.mail) if event.report.kind in _CONSEQUENTIAL else None


def _commands(
    connection: Connection, house: House, events: Sequence[tuple[Report, Sent]]
) -> list[Command]:
    if not events:
        return []
    # All of a person's subscriptions, or two soft bounces at once would not see each other.
    people = {mail.subscriber_id for _, mail in events if mail.subscriber_id}
    locked = rows.lock(connection, feedback.subscriptions_of(connection, people))
    soft = {mail.email_hash or "" for r, mail in events if r.kind is Happened.SOFT_BOUNCE}
    worn_out = _worn_out(connection, house, soft)
    commands: list[Command] = []
    for report, mail in events:
        subscription = locked.get(mail.subscription_id) if mail.subscription_id else None
        command = _command(report, subscription, worn_out) if subscription else None
        if command:
            commands.append(command)
    return commands


def _worn_out(connection: Connection, house: House, hashes: Collection[str]) -> set[str]:
    """Return the addresses whose mail has bounced softly too often."""
    if not hashes:
        return set()
    counts = feedback.soft_bounces(connection, hashes, house.clock() - SOFT_BOUNCE_WINDOW)
    return {address_hash for address_hash, count in counts.items() if count >= SOFT_BOUNCES}


def _command(
    report: Report, subscription: Subscription, worn_out: Collection[str]
) -> Command | None:
    match report.kind:
        case Happened.HARD_BOUNCE:
            return Bounce(subscription=subscription.id)
        case Happened.SOFT_BOUNCE if subscription.email_hash in worn_out:
            return Bounce(subscription=subscription.id)
        case Happened.COMPLAINT:
            return Complain(subscription=subscription.id, source=Source(method="complaint"))
        case Happened.UNSUBSCRIBED if not _asked_since(report, subscription):
            return Unsubscribe(subscription=subscription.id, source=Source(method="api"))
        case _:
            return None


def _asked_since(report: Report, subscription: Subscription) -> bool:
    """Tell whether the person left before the request that counts now: told late, it is over."""
    asked = subscription.requested_at
    return asked is not None and report.at < asked
