"""What somebody receives, all newsletters on one page, and the commands of one submit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.engine import Connection

from app.db import subscribers, subscriptions
from app.db.newsletters import Newsletter
from app.db.policies import Policy
from app.db.subscriptions import Subscription
from app.domain import address
from app.domain.subscription import Status
from app.services.catalog import Catalog
from app.services.commands import Command, Pause, SignUp, Source, Unsubscribe
from app.services.house import House
from app.services.links import PreferencesLink

PAUSES = (30, 90)
"""Days that a pause may last."""


@dataclass(frozen=True, slots=True)
class Line:
    """One newsletter, and how it stands with one person."""

    newsletter: Newsletter
    policy: Policy | None = None
    subscription: UUID | None = None
    status: Status | None = None
    paused_until: datetime | None = None

    @property
    def is_on(self) -> bool:
        """Tell whether the person receives it, or will once confirmed."""
        return self.status in {Status.PENDING, Status.CONFIRMED}

    @property
    def is_pending(self) -> bool:
        """Tell whether the person still has to confirm."""
        return self.status is Status.PENDING


@dataclass(frozen=True, slots=True)
class Preferences:
    """One person, and every newsletter that there is; `proven`: by a link mailed just now."""

    subscriber: UUID
    email: str
    name: str | None
    locale: str | None
    lines: Sequence[Line]
    proven: bool

    @property
    def masked(self) -> str:
        """The address, for a page that others may see, too."""
        return address.masked(self.email)

    @property
    def is_awaited(self) -> bool:
        """Tell whether something waits for the person to confirm."""
        return any(line.is_pending for line in self.lines)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the page said of one newsletter: on or off, and for how many days to pause it.

    `pause` None leaves a pause as it is; 0 ends it.
    """

    is_on: bool
    pause: int | None = None
    wording: str | None = None
    policy_version: str | None = None


def read(connection: Connection, house: House, link: PreferencesLink) -> Preferences | None:
    """Return how it stands; None if nothing is kept of this person."""
    person = subscribers.read(connection, link.subscriber)
    rows = subscriptions.of_subscriber(connection, link.subscriber)
    if person is None:
        return None
    known = {row.newsletter: row for row in rows}
    catalog = house.catalog.current(connection)
    policy = catalog.policies[0] if catalog.policies else None
    lines = [
        _line(newsletter, policy, known.get(slug), house.clock())
        for slug, newsletter in catalog.newsletters.items()
    ]
    return Preferences(
        subscriber=link.subscriber,
        email=person["email"],
        name=person["name"],
        locale=person["locale"],
        lines=lines,
        proven=link.proven,
    )


def _line(
    newsletter: Newsletter, policy: Policy | None, row: Subscription | None, now: datetime
) -> Line:
    if row is None:
        return Line(newsletter, policy)
    is_paused = row.paused_until is not None and row.paused_until > now
    return Line(newsletter, policy, row.id, row.status, row.paused_until if is_paused else None)


def commands(
    known: Preferences, wishes: Mapping[str, Wish], source: Source, catalog: Catalog, now: datetime
) -> list[Command]:
    """Return what makes the wishes come true; who joins is asked by mail to confirm.

    A newsletter without a wish stays as it is: it was not on the page. Raises Problem if a text or
    policy that was agreed to does not hold, before anything is done.
    """
    for line in known.lines:
        wish = wishes.get(line.newsletter.slug)
        if wish is not None and wish.is_on and not line.is_on:
            catalog.policy(wish.policy_version, now)
            catalog.wording(line.newsletter, wish.wording)
    wanted: list[Command] = []
    for line in known.lines:
        wish = wishes.get(line.newsletter.slug)
        if wish is not None:
            wanted += _changes(known, line, wish, source, now)
    return wanted


def _changes(
    known: Preferences, line: Line, wish: Wish, source: Source, now: datetime
) -> list[Command]:
    if line.subscription is not None and line.is_on and not wish.is_on:
        return [Unsubscribe(subscription=line.subscription, source=source)]
    if wish.is_on and not line.is_on:
        return [
            SignUp(
                address=address.parse(known.email),
                newsletter=line.newsletter.slug,
                policy_version=wish.policy_version,
                wording=wish.wording,
                locale=known.locale,
                proven=known.proven,
                source=source,
            )
        ]
    if line.subscription is not None and wish.is_on and wish.pause is not None:
        until = now + timedelta(days=wish.pause) if wish.pause else None
        return [Pause(subscription=line.subscription, until=until)]
    return []


def rename(connection: Connection, subscriber: UUID, name: str, locale: str | None) -> None:
    """Keep how somebody wants to be called, and in which language."""
    subscribers.rename(connection, subscriber, name or None, locale)
