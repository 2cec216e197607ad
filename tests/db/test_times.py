"""Times on SQLite are text that sorts: one form, always the same length."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.engine import Connection

from app.db import tables
from app.db.engine import Engine
from app.db.types import Time
from app.domain import address
from app.domain.retry import Outcome, Verdict
from app.services import keys, links, outbox, subscriptions
from app.services.commands import Confirm, SignUp, Source
from app.services.house import House
from app.services.keys import Scope, Wish
from app.services.outbox import Tried
from tests.conftest import Clock

pytestmark = pytest.mark.anyio

CANONICAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
SOURCE = Source(method="form")


@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, 23, 59, 59, 999999, tzinfo=timezone(timedelta(hours=-11))),
        datetime(1900, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
    ],
)
async def test_a_time_comes_back_as_the_same_moment_in_utc(engine: Engine, at: datetime) -> None:
    t = tables.transports
    await engine.write(lambda c: c.execute(insert(t).values(name="a", since=at)))
    found = await engine.read(lambda c: c.scalar(select(t.c.since)))
    assert found == at
    assert found is not None
    assert found.utcoffset() == timedelta()


async def journey(engine: Engine, house: House, clock: Clock) -> None:
    """Touch every table that has times: join, be mailed, confirm, leave, bounce, fail."""

    async def sent(verdict: Verdict) -> list[Any]:
        hand = await engine.write(outbox.claim, house, "worker", "test", 10)
        tried = [Tried(lease, verdict) for lease in hand.leases]
        await engine.write(outbox.settle, house, "test", tried)
        return hand.leases

    who = address.parse("ann@example.org")
    await engine.write(subscriptions.apply, [SignUp(address=who, source=SOURCE)], house)
    await sent(Verdict(Outcome.RETRY_TRANSPORT))
    clock.advance(hours=1)
    [lease] = await sent(Verdict(Outcome.SENT))
    url = links.confirm_url(house, lease.subscription_id, 1, 1, lease.created_at)
    read = links.read_confirm(house, url.rpartition("/")[2])
    confirm = Confirm(
        subscription=read.subscription,
        generation=read.generation,
        sequence=read.sequence,
        expired=read.expired,
        source=SOURCE,
    )
    await engine.write(subscriptions.apply, [confirm], house)
    clock.advance(hours=1)
    await engine.write(subscriptions.apply, [SignUp(address=who, source=SOURCE)], house)
    await sent(Verdict(Outcome.REFUSED))
    wish = Wish(name="k", scopes=[Scope.ADMIN], expires_at=clock.now + timedelta(days=1))
    await engine.write(keys.create, wish, clock.now)


def stored_times(connection: Connection) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for table in tables.metadata.sorted_tables:
        for column in table.c:
            if isinstance(column.type, Time):
                raw = text(f'SELECT "{column.name}" FROM {table.name}')  # noqa: S608 - our names
                found[str(column)] = [v for v in connection.scalars(raw) if v is not None]
    return found


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("open_house")
async def test_every_time_of_a_journey_is_stored_in_one_form(
    engine: Engine, house: House, clock: Clock
) -> None:
    clock.now = clock.now.astimezone(timezone(timedelta(hours=5, minutes=30)))
    await journey(engine, house, clock)
    found = await engine.read(stored_times)
    values = [value for column in found.values() for value in column]
    assert [value for value in values if not CANONICAL.fullmatch(value)] == []
    assert {len(value) for value in values} == {27}
    for table in ("outbox", "subscriptions", "consent_events", "mail_budgets", "suppressions"):
        assert any(column for name, column in found.items() if name.startswith(table)), table


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_what_is_no_time_is_shown_as_it_is_so_that_it_can_be_named(engine: Engine) -> None:
    raw = "INSERT INTO transports (name, since) VALUES ('a', 'soon')"
    await engine.write(lambda c: c.execute(text(raw)))
    assert await engine.read(lambda c: c.scalar(select(tables.transports.c.since))) == "soon"
