"""What a list of commands reads before it is carried out, and writes after."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.engine import Connection

from app.db import budgets, consents, outbox, suppressions
from app.db import subscriptions as rows
from app.db.newsletters import Newsletter
from app.db.policies import Policy
from app.db.subscriptions import Subscription
from app.domain import consent, subscription
from app.domain.address import Address
from app.domain.budget import Budget
from app.domain.consent import PERSONAL, SALT_BYTES, Act, Head, Place
from app.domain.errors import Problem
from app.domain.subscription import Change, Kind, Mail, Reason
from app.services import breakers
from app.services.catalog import Catalog
from app.services.commands import (
    Answer,
    AskLink,
    Command,
    Confirm,
    Done,
    Erase,
    Import,
    Remind,
    SignUp,
    Source,
    Undo,
)
from app.services.house import House

_LINKS = "~links"
"""Stands for a newsletter in the budget of links; no slug looks like it."""


@dataclass(frozen=True, slots=True)
class Request:
    """A sign-up whose names are resolved."""

    newsletter: Newsletter
    policy: Policy
    wording: str
    wording_locale: str
    own: tuple[str, str]
    whole: tuple[str, str]


@dataclass(slots=True)
class Fold:
    """What was read for a list of commands, and what is to be written after it."""

    house: House
    now: datetime
    catalog: Catalog
    requests: dict[int, Request | Problem]
    budgets: dict[budgets.Key, Budget]
    suppressed: dict[str, set[Reason]]
    owners: dict[str, tuple[UUID, dict[str, UUID]]]
    rows: dict[UUID, Subscription]
    agreed: dict[tuple[UUID, int], Any]
    last_agreed: dict[UUID, Any]
    new_owners: dict[str, Subscription] = field(default_factory=dict)
    changed: dict[UUID, Subscription] = field(default_factory=dict)
    events: list[dict[str, object]] = field(default_factory=list)
    mails: list[dict[str, Any]] = field(default_factory=list)
    suppress: list[tuple[str, Reason]] = field(default_factory=list)
    confirmed: list[Subscription] = field(default_factory=list)
    removed: list[Subscription] = field(default_factory=list)


def load(connection: Connection, commands: Sequence[Command], house: House) -> Fold:
    """Read all that the commands touch: budgets first, then rows by id, so nobody deadlocks."""
    now = house.clock()
    catalog = house.catalog.current(connection)
    requests = {id(c): _resolve(c, catalog, house) for c in commands if isinstance(c, SignUp)}
    asked = [r for r in requests.values() if isinstance(r, Request)]
    counted = [budgets_of(house, c) for c in commands if isinstance(c, AskLink | Remind)]
    wanted = [(r.own, r.whole) for r in asked] + counted
    locked = budgets.lock(connection, [key for pair in wanted for key in pair])
    keys = {c.address.key for c in commands if isinstance(c, SignUp | AskLink | Import | Remind)}
    owners = rows.find(connection, keys)
    named = {
        c.subscription for c in commands if not isinstance(c, SignUp | AskLink | Import | Erase)
    }
    named |= rows.of_subscribers(
        connection, {c.subscriber for c in commands if isinstance(c, Erase)}
    )
    found = {subscription for _, owned in owners.values() for subscription in owned.values()}
    links = [(c.subscription, c.sequence) for c in commands if isinstance(c, Confirm)]
    undone = {c.subscription for c in commands if isinstance(c, Undo)}
    locked_rows = rows.lock(connection, named | found)
    hashes = {house.address_hash(key) for key in keys}
    hashes |= {locked_rows[i].email_hash for i in undone if i in locked_rows}
    return Fold(
        house=house,
        now=now,
        catalog=catalog,
        requests=requests,
        budgets=locked,
        suppressed=suppressions.find(connection, hashes),
        owners=owners,
        rows=locked_rows,
        agreed=consents.requested(connection, links),
        last_agreed=consents.last_agreed(connection, undone),
    )


def _resolve(command: SignUp, catalog: Catalog, house: House) -> Request | Problem:
    try:
        newsletter = catalog.newsletter(command.newsletter)
        policy = catalog.policy(command.policy_version, house.clock())
        wording, wording_locale = catalog.wording(newsletter, command.wording)
    except Problem as problem:
        return problem
    hashed = house.budget_hash(command.address.key)
    own, whole = (hashed, newsletter.slug), (hashed, "")
    return Request(newsletter, policy, wording, wording_locale, own, whole)


def budgets_of(house: House, command: AskLink | Remind) -> tuple[budgets.Key, budgets.Key]:
    """Return the budgets that the mail which the command asks for is counted in."""
    hashed = house.budget_hash(command.address.key)
    own = _LINKS if isinstance(command, AskLink) else command.newsletter
    return (hashed, own), (hashed, "")


def row_of(fold: Fold, address: Address, slug: str) -> Subscription:
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


def keep(fold: Fold, row: Subscription) -> None:
    """Remember a changed subscription, so that the next command of this list finds it."""
    if row.id not in fold.rows:
        if row.email_key not in fold.owners:
            fold.new_owners[row.email_key] = row
            fold.owners[row.email_key] = (row.subscriber_id, {})
        fold.owners[row.email_key][1][row.newsletter] = row.id
    fold.rows[row.id] = fold.changed[row.id] = row


def act(fold: Fold, row: Subscription, kind: Kind, source: Source) -> dict[str, Any]:
    """Return what every line of the record says of a command; the caller adds the rest."""
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


def change(fold: Fold, row: Subscription, change: Change, act: dict[str, Any]) -> None:
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
        keep(fold, row)
    welcome = fold.catalog.newsletters[row.newsletter].welcome
    if change.mail and (change.mail is not Mail.WELCOME or welcome):
        fold.mails.append(mail(fold, row, change.mail))


def done(fold: Fold, row: Subscription, answer: Answer) -> Done:
    """Return an answer about a subscription that is there."""
    newsletter = fold.catalog.newsletters[row.newsletter]
    return Done(answer, newsletter, row.locale or row.pending_locale, row.subscriber_id)


def remove(fold: Fold, row: Subscription) -> None:
    """Forget a subscription: whoever signs up again starts a new chain."""
    fold.changed.pop(row.id, None)
    fold.rows.pop(row.id, None)
    fold.owners.get(row.email_key, (None, {}))[1].pop(row.newsletter, None)
    fold.removed.append(row)


def mail(fold: Fold, row: Subscription, kind: Mail) -> dict[str, Any]:
    """Return the outbox row of a mail that has become necessary."""
    return {
        "kind": kind.value,
        "subscriber_id": row.subscriber_id,
        "subscription_id": row.id,
        "generation": row.generation,
        "sequence": row.head.sequence if kind is Mail.CONFIRM else None,
        "priority": 0 if kind is Mail.CONFIRM else 1,
        "state": "waiting",
        "outcome": None,
        "due_at": fold.now,
        "created_at": fold.now,
    }


def write(connection: Connection, fold: Fold) -> None:
    """Write everything, one statement a table."""
    budgets.save(connection, fold.budgets.values())
    rows.add_subscribers(connection, fold.new_owners.values(), fold.now)
    rows.remove(connection, fold.removed)
    rows.save(connection, fold.changed.values())
    consents.append(connection, fold.events)
    suppressions.add(connection, fold.suppress, fold.now)
    rows.fill(connection, fold.confirmed)
    suppressions.lift(connection, {row.email_hash for row in fold.confirmed}, Reason.ERASED)
    if fold.removed:
        consents.redact(connection, {row.id for row in fold.removed})
        rows.remove_orphans(connection, {row.subscriber_id for row in fold.removed})
    # Last: all processes share the line, and wait for each other only from here on.
    breakers.hold_back(connection, fold.house, fold.mails, fold.now)
    outbox.add(connection, fold.mails)
