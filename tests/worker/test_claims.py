import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from app.db import suppressions, tables
from app.domain.subscription import Reason
from app.services import subscriptions
from app.services.commands import Expire
from tests.conftest import Clock
from tests.worker.stage import Scripted, Stage, people

pytestmark = pytest.mark.anyio

Spoil = Callable[[Stage, Clock], Awaitable[object]]


def _in_sql(statement: Any) -> Callable[[Connection], object]:  # noqa: ANN401
    return lambda connection: connection.execute(statement)


async def test_confirmations_go_before_welcomes_however_late_they_come(
    stage: Stage, transport: Scripted, clock: Clock
) -> None:
    transport.connections = 1
    await stage.ask("early@example.org")
    await stage.deliver(transport)
    await stage.confirm("early@example.org")
    clock.advance(seconds=30)
    await stage.ask("late@example.org", "later@example.org")

    claimed = await stage.claim()

    assert [(lease.kind, lease.email) for lease in claimed] == [
        ("confirm", "late@example.org"),
        ("confirm", "later@example.org"),
        ("welcome", "early@example.org"),
    ]


async def test_a_claim_takes_no_more_than_it_was_asked_to(stage: Stage) -> None:
    await stage.ask(*people(5))
    assert [lease.email for lease in await stage.claim(limit=2)] == list(people(5)[:2])


async def test_what_is_not_due_yet_is_left_alone(stage: Stage, clock: Clock) -> None:
    await stage.ask("ann@example.org")
    clock.advance(seconds=-1)
    assert await stage.claim() == []
    clock.advance(seconds=1)
    assert len(await stage.claim()) == 1


async def _left(stage: Stage, _: Clock) -> None:
    await stage.leave("ann@example.org")


async def _too_late(_: Stage, clock: Clock) -> None:
    clock.advance(days=7)


async def _left_and_came_back(stage: Stage, clock: Clock) -> None:
    await stage.leave("ann@example.org")
    clock.advance(minutes=15)
    await stage.ask("ann@example.org")


async def _suppressed(stage: Stage, clock: Clock) -> None:
    hashed = stage.house.address_hash("ann@example.org")
    await stage.engine.write(suppressions.add, [(hashed, Reason.MANUAL)], clock.now)


async def _gone(stage: Stage, clock: Clock) -> None:
    row = await stage.mail("ann@example.org")
    command = Expire(subscription=row["subscription_id"], before=clock.now + timedelta(days=1))
    await stage.engine.write(subscriptions.apply, [command], stage.house)


async def _erased_by_hand(stage: Stage, _: Clock) -> None:
    await stage.run(_in_sql(tables.subscriptions.delete()))


async def _paused(stage: Stage, clock: Clock) -> None:
    await _confirmed(stage, clock)
    until = clock.now + timedelta(days=9)
    await stage.run(_in_sql(tables.subscriptions.update().values(paused_until=until)))


async def _confirmed(stage: Stage, _: Clock) -> None:
    [lease] = await stage.claim()
    await stage.confirm("ann@example.org")
    await stage.run(
        _in_sql(tables.outbox.update().where(tables.outbox.c.id == lease.id).values(state="sent"))
    )


async def _welcomed_too_late(stage: Stage, clock: Clock) -> None:
    await _confirmed(stage, clock)
    await stage.leave("ann@example.org")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_left, "not pending"),
        (_too_late, "link expired"),
        (_left_and_came_back, "asked again"),
        (_suppressed, "suppressed"),
        (_gone, "gone"),
        (_erased_by_hand, "gone"),
        (_paused, "paused"),
        (_welcomed_too_late, "not confirmed"),
    ],
)
async def test_who_may_not_be_mailed_any_more_is_skipped_with_the_reason(
    stage: Stage, transport: Scripted, clock: Clock, spoil: Spoil, reason: str
) -> None:
    await stage.ask("ann@example.org")
    await spoil(stage, clock)
    await stage.deliver(transport)

    [skipped] = [mail for mail in await stage.mails() if mail["state"] == "skipped"]
    assert (skipped["outcome"], skipped["attempts"]) == (reason, 0)
    assert skipped["settled_at"] == clock.now
    assert len(transport.tried) == (1 if spoil is _left_and_came_back else 0)


async def test_a_person_who_can_be_mailed_again_after_a_pause_gets_the_welcome(
    stage: Stage, transport: Scripted, clock: Clock
) -> None:
    await stage.ask("ann@example.org")
    await _confirmed(stage, clock)
    until = clock.now + timedelta(days=1)
    await stage.run(_in_sql(tables.subscriptions.update().values(paused_until=until)))
    clock.advance(days=1)
    await stage.deliver(transport)
    assert transport.recipients == ["ann@example.org"]


async def test_two_workers_never_lease_the_same_mail(stage: Stage) -> None:
    await stage.ask(*people(40))
    hands = await asyncio.gather(*(stage.claim(name, limit=5) for name in "abcdefgh"))
    leased = sorted(lease.id for hand in hands for lease in hand)
    rest = [lease.id for lease in await stage.claim("last")]
    assert sorted(leased + rest) == sorted(mail["id"] for mail in await stage.mails())
    assert len(set(leased + rest)) == 40
