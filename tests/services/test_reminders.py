"""One reminder for who has not confirmed, where the newsletter wants it, inside the budget."""

from datetime import timedelta

import pytest

from app.db import tables
from app.services import newsletters, retention
from tests.conftest import Clock
from tests.services.people import ANN, Door, sign_up

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]


@pytest.fixture
async def reminding(door: Door) -> Door:
    """A door to a newsletter that reminds."""
    change = {"reminder": True}
    await door.engine.write(newsletters.change, "insights", change, door.house.clock())
    return door


async def remind(door: Door) -> int:
    return await door.engine.write(retention.remind, door.house)


async def test_who_has_not_confirmed_for_a_day_is_reminded_once(
    reminding: Door, clock: Clock
) -> None:
    await reminding(sign_up())
    clock.advance(hours=23, minutes=59)
    assert await remind(reminding) == 0
    clock.advance(minutes=1)
    assert await remind(reminding) == 1
    assert await reminding.mails() == ["confirm", "confirm"]
    first, again = await reminding.rows(tables.outbox, tables.outbox.c.id)
    assert again["sequence"] == first["sequence"]
    assert await reminding.kinds() == ["requested"], "nothing was agreed to"
    clock.advance(days=2)
    assert await remind(reminding) == 0
    await reminding(await reminding.click())
    assert await reminding.status() == "confirmed"


async def test_newsletters_do_not_remind_unless_they_want_to(door: Door, clock: Clock) -> None:
    await door(sign_up())
    clock.advance(days=1)
    assert await remind(door) == 0


async def test_who_confirmed_left_or_asked_too_long_ago_is_left_alone(
    reminding: Door, clock: Clock
) -> None:
    for status in ("confirmed", "unsubscribed"):
        await reminding.bring(status, f"{status}@example.org")
    await reminding(sign_up("late@example.org"))
    before = await reminding.mails()
    clock.now += timedelta(days=7)
    assert await remind(reminding) == 0
    assert await reminding.mails() == before


async def test_the_reminder_is_inside_the_budget(reminding: Door, clock: Clock) -> None:
    for _ in range(3):
        await reminding(sign_up())
        clock.advance(minutes=16)
    clock.advance(days=1)
    assert await remind(reminding) == 1
    assert await reminding.mails() == ["confirm"] * 3
    assert await remind(reminding) == 0, "nobody is looked at twice"


async def test_who_may_not_be_mailed_is_not_reminded(reminding: Door, clock: Clock) -> None:
    await reminding(sign_up())
    await reminding(await reminding.bounce())
    clock.advance(days=1)
    await remind(reminding)
    assert await reminding.mails() == ["confirm"]


async def test_who_left_and_asks_again_may_be_reminded_again(reminding: Door, clock: Clock) -> None:
    await reminding(sign_up())
    clock.advance(days=1)
    await remind(reminding)
    await reminding(await reminding.leave())
    clock.advance(minutes=20)
    await reminding(sign_up())
    assert (await reminding.joined(ANN))["reminded_at"] is None
    clock.advance(days=1)
    await remind(reminding)
    assert await reminding.mails() == ["confirm"] * 3, "three unanswered mails are enough"
