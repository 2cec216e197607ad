"""The one door: a list of commands goes in, and every change of a subscription comes out of it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

from sqlalchemy.engine import Connection

from app.db import budgets, consents, outbox, suppressions
from app.db import subscriptions as rows
from app.db.newsletters import Newsletter
from app.db.policies import Policy
from app.db.subscriptions import Subscription
from app.domain import budget, consent, subscription
from app.domain.address import Address
from app.domain.budget import Budget
from app.domain.consent import PERSONAL, SALT_BYTES, Act, Head, Place
from app.domain.errors import Problem
from app.domain.subscription import BLOCKING, Change, Event, Kind, Mail, Reason, Status
from app.services.catalog import Catalog
from app.services.commands import (
    Answer,
    Bounce,
    Command,
    Complain,
    Confirm,
    Done,
    Expire,
    Import,
    Result,
    SignUp,
    Source,
    Unsubscribe,
)
from app.services.house import House

_ACCEPTED = Answer.ACCEPTED


def apply(connection: Connection, commands: Sequence[Command], house: House) -> list[Result]:
    """Carry out the commands in their order, all in this transaction; one result for each.

    A command that is refused is a Problem among the results and leaves no trace. Raises
    IntegrityError if somebody else made the same subscriber or subscription meanwhile: then roll
    back and try again.
    """
    fold = _load(connection, commands, house)
    results = [_settled(fold, command) for command in commands]
    _write(connection, fold)
    return results


@dataclass(frozen=True, slots=True)
class _Request:
    """A sign-up whose names are resolved."""

    newsletter: Newsletter
    policy: Policy
    wording: str
    wording_locale: str
    own: tuple[str, str]
    whole: tuple[str, str]


@dataclass(slots=True)
class _Fold:
    """What was read for a list of commands, and what is to be written after it."""

    house: House
    now: datetime
    catalog: Catalog
    requests: dict[int, _Request | Problem]
    budgets: dict[budgets.Key, Budget]
    suppressed: dict[str, set[Reason]]
    owners: dict[str, tuple[UUID, dict[str, UUID]]]
    rows: dict[UUID, Subscription]
    agreed: dict[tuple[UUID, int], Any]
    new_owners: dict[str, Subscription] = field(default_factory=dict)
    changed: dict[UUID, Subscription] = field(default_factory=dict)
    events: list[dict[str, object]] = field(default_factory=list)
    mails: list[dict[str, Any]] = field(default_factory=list)
    suppress: list[tuple[str, Reason]] = field(default_factory=list)
    confirmed: list[Subscription] = field(default_factory=list)
    removed: list[Subscription] = field(default_factory=list)


# --- read -----------------------------------------------------------------------------------------


def _load(connection: Connection, commands: Sequence[Command], house: House) -> _Fold:
    """Read all that the commands touch: budgets first, then rows by id, so nobody deadlocks."""
    now = house.clock()
    catalog = house.catalog.current(connection)
    requests = {id(c): _resolve(c, catalog, house) for c in commands if isinstance(c, SignUp)}
    asked = [r for r in requests.values() if isinstance(r, _Request)]
    locked = budgets.lock(connection, [key for r in asked for key in (r.own, r.whole)])
    keys = {c.address.key for c in commands if isinstance(c, SignUp | Import)}
    owners = rows.find(connection, keys)
    named = {c.subscription for c in commands if not isinstance(c, SignUp | Import)}
    found = {subscription for _, owned in owners.values() for subscription in owned.values()}
    links = [(c.subscription, c.sequence) for c in commands if isinstance(c, Confirm)]
    return _Fold(
        house=house,
        now=now,
        catalog=catalog,
        requests=requests,
        budgets=locked,
        suppressed=suppressions.find(connection, [house.address_hash(key) for key in keys]),
        owners=owners,
        rows=rows.lock(connection, named | found),
        agreed=consents.requested(connection, links),
    )


def _resolve(command: SignUp, catalog: Catalog, house: House) -> _Request | Problem:
    try:
        newsletter = catalog.newsletter(command.newsletter)
        policy = catalog.policy(command.policy_version, house.clock())
        wording, wording_locale = catalog.wording(newsletter, command.wording)
    except Problem as problem:
        return problem
    hashed = house.budget_hash(command.address.key)
    own, whole = (hashed, newsletter.slug), (hashed, "")
    return _Request(newsletter, policy, wording, wording_locale, own, whole)


# --- fold -----------------------------------------------------------------------------------------


def _settled(fold: _Fold, command: Command) -> Result:
    match command:
        case SignUp():
            return _sign_up(fold, command)
        case Confirm():
            return _confirm(fold, command)
        case Unsubscribe():
            return _leave(fold, command.subscription, Event.UNSUBSCRIBE, command.source)
        case Complain():
            return _leave(fold, command.subscription, Event.COMPLAINT, command.source)
        case Bounce():
            return _leave(fold, command.subscription, Event.HARD_BOUNCE, Source(method="sweep"))
        case Import():
            return _import(fold, command)
        case Expire():
            return _expire(fold, command)
    assert_never(command)


def _sign_up(fold: _Fold, command: SignUp) -> Result:
    request = fold.requests[id(command)]
    if isinstance(request, Problem):
        return request
    done = Done(_ACCEPTED, request.newsletter)
    row = _row_of(fold, command.address, request.newsletter.slug)
    change = subscription.step(row.status, Event.SIGN_UP)
    if BLOCKING & fold.suppressed.get(row.email_hash, set()) or not change.mail:
        return done
    own, whole = fold.budgets[request.own], fold.budgets[request.whole]
    own.answer(row.confirmed_at)
    if not budget.may_mail(own, whole, change.mail, fold.now, fold.house.confirm_cooldown):
        own.refused += 1
        return done
    budget.spend(own, whole, change.mail, fold.now)
    if change.consent:
        _remember_wishes(row, command)
        row.requested_at, row.ended_at = fold.now, None
    act = _act(fold, row, Kind.REQUESTED, command.source)
    agreed = {"policy_version": request.policy.version, "wording": request.wording}
    _change(fold, row, change, {**act, **agreed, "locale": request.wording_locale})
    return done


def _remember_wishes(row: Subscription, command: SignUp) -> None:
    """Keep name and locale until the owner confirms; a stranger cannot overwrite them."""
    waiting = row.status is Status.PENDING
    row.pending_name = (row.pending_name if waiting else None) or command.name
    row.pending_locale = (row.pending_locale if waiting else None) or command.locale


def _confirm(fold: _Fold, command: Confirm) -> Result:
    row = fold.rows.get(command.subscription)
    if row is None or row.status is None:
        return Done(Answer.LINK_EXPIRED)
    newsletter = fold.catalog.newsletters[row.newsletter]
    if row.generation != command.generation or row.status is Status.UNSUBSCRIBED:
        return Done(Answer.LEFT_SINCE, newsletter)
    if row.status is Status.CONFIRMED:
        return Done(Answer.ALREADY_CONFIRMED, newsletter)
    agreed = fold.agreed.get((row.id, command.sequence))
    if command.expired or agreed is None:
        return Done(Answer.LINK_EXPIRED, newsletter)
    change = subscription.step(row.status, Event.CONFIRM)
    row.confirmed_at, row.ended_at = fold.now, None
    act = _act(fold, row, Kind.CONFIRMED, command.source)
    copied = {name: agreed[name] for name in ("policy_version", "wording", "locale")}
    fold.confirmed.append(replace(row))  # as it is now: what a stranger adds later does not count
    fold.suppressed.get(row.email_hash, set()).discard(Reason.ERASED)
    row.pending_name = row.pending_locale = None
    _change(fold, row, change, {**act, **copied, "confirms": command.sequence})
    return Done(Answer.CONFIRMED, newsletter)


def _leave(fold: _Fold, subscription_id: UUID, event: Event, source: Source) -> Result:
    row = fold.rows.get(subscription_id)
    if row is None or row.status is None:
        return Done(Answer.LEFT)
    change = subscription.step(row.status, event)
    if change.status is Status.UNSUBSCRIBED and row.status is not Status.UNSUBSCRIBED:
        row.ended_at = fold.now
        row.pending_name = row.pending_locale = row.paused_until = None
    _change(fold, row, change, _act(fold, row, Kind.WITHDRAWN, source))
    return Done(Answer.LEFT, fold.catalog.newsletters[row.newsletter])


def _import(fold: _Fold, command: Import) -> Result:
    try:
        newsletter = fold.catalog.newsletter(command.newsletter)
    except Problem as problem:
        return problem
    row = _row_of(fold, command.address, newsletter.slug)
    change = subscription.step(row.status, Event.IMPORT)
    if change.consent is None or fold.suppressed.get(row.email_hash):
        return Done(Answer.UNCHANGED, newsletter)
    row.requested_at = row.requested_at or fold.now
    row.confirmed_at, row.ended_at = fold.now, None
    row.pending_name = row.pending_locale = None
    act = _act(fold, row, Kind.IMPORTED, command.source)
    _change(fold, row, change, {**act, "evidence": command.evidence})
    return Done(Answer.DONE, newsletter)


def _expire(fold: _Fold, command: Expire) -> Result:
    row = fold.rows.get(command.subscription)
    if row is None or row.requested_at is None or row.requested_at >= command.before:
        return Done(Answer.UNCHANGED)
    change = subscription.step(
        row.status, Event.EXPIRE, ever_confirmed=row.confirmed_at is not None
    )
    if change.consent is None:
        return Done(Answer.UNCHANGED)
    row.pending_name = row.pending_locale = None
    act = _act(fold, row, Kind.EXPIRED, Source(method="sweep"))
    _change(fold, row, change, {**act, "address": None})
    if change.status is None:
        # Whoever signs up again starts a new chain; the removed one must not be found any more.
        fold.changed.pop(row.id, None)
        fold.rows.pop(row.id, None)
        fold.owners.get(row.email_key, (None, {}))[1].pop(row.newsletter, None)
        fold.removed.append(row)
    return Done(Answer.DONE)


def _row_of(fold: _Fold, address: Address, slug: str) -> Subscription:
    """Return the subscription of an address, which may have to be made; nothing is kept yet."""
    owner, owned = fold.owners.get(address.key, (None, {}))
    if slug in owned and owned[slug] in fold.rows:
        return fold.rows[owned[slug]]
    return Subscription(
        id=fold.house.new_id(),
        subscriber_id=owner or fold.house.new_id(),
        email=address.email,
        email_key=address.key,
        email_hash=fold.house.address_hash(address.key),
        newsletter=slug,
    )


def _keep(fold: _Fold, row: Subscription) -> None:
    """Remember a changed subscription, so that the next command of this list finds it."""
    if row.id not in fold.rows:
        if row.email_key not in fold.owners:
            fold.new_owners[row.email_key] = row
            fold.owners[row.email_key] = (row.subscriber_id, {})
        fold.owners[row.email_key][1][row.newsletter] = row.id
    fold.rows[row.id] = fold.changed[row.id] = row


def _act(fold: _Fold, row: Subscription, kind: Kind, source: Source) -> dict[str, Any]:
    return {
        "kind": kind,
        "at": fold.now,
        "newsletter": row.newsletter,
        "address": row.email,
        "method": source.method,
        "ip": source.ip,
        "user_agent": source.user_agent,
        "page_url": source.page_url,
        "actor": source.actor,
    }


def _change(fold: _Fold, row: Subscription, change: Change, act: dict[str, Any]) -> None:
    """Give the subscription its new status, record it, and queue what follows."""
    row.generation = subscription.next_generation(row.generation, row.status, change.status)
    row.status = change.status
    if change.suppress:
        fold.suppress.append((row.email_hash, change.suppress))
        fold.suppressed.setdefault(row.email_hash, set()).add(change.suppress)
    if change.consent:
        place = Place(row.id, row.subscriber_id, row.generation, row.head)
        event = consent.record(Act(**act), place, os.urandom(SALT_BYTES * len(PERSONAL)))
        fold.events.append(event)
        row.head = Head(row.head.sequence + 1, str(event["hash"]))
        _keep(fold, row)
    welcome = fold.catalog.newsletters[row.newsletter].welcome
    if change.mail and (change.mail is not Mail.WELCOME or welcome):
        fold.mails.append(_mail(fold, row, change.mail))


def _mail(fold: _Fold, row: Subscription, kind: Mail) -> dict[str, Any]:
    return {
        "kind": kind.value,
        "subscriber_id": row.subscriber_id,
        "subscription_id": row.id,
        "generation": row.generation,
        "sequence": row.head.sequence if kind is Mail.CONFIRM else None,
        "priority": 0 if kind is Mail.CONFIRM else 1,
        "state": "waiting",
        "due_at": fold.now,
        "created_at": fold.now,
    }


# --- write ----------------------------------------------------------------------------------------


def _write(connection: Connection, fold: _Fold) -> None:
    """Write everything, one statement a table."""
    budgets.save(connection, fold.budgets.values())
    rows.add_subscribers(connection, fold.new_owners.values(), fold.now)
    rows.remove(connection, fold.removed)
    rows.save(connection, fold.changed.values())
    consents.append(connection, fold.events)
    outbox.add(connection, fold.mails)
    suppressions.add(connection, fold.suppress, fold.now)
    rows.fill(connection, fold.confirmed)
    suppressions.lift(connection, {row.email_hash for row in fold.confirmed}, Reason.ERASED)
    if fold.removed:
        consents.redact(connection, {row.id for row in fold.removed})
        rows.remove_orphans(connection, {row.subscriber_id for row in fold.removed})
