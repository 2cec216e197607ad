import pytest

from app.db import tables
from tests.conftest import Clock, Make
from tests.services.people import ANN, Door, answers, imported, sign_up

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]


async def test_one_address_many_times_in_a_list_is_one_request(door: Door) -> None:
    results = await door(*(sign_up(email) for email in (ANN, "Ann@example.org", ANN)))
    assert answers(results) == ["accepted"] * 3
    assert len(await door.rows(tables.subscribers)) == 1
    assert await door.mails() == ["confirm"]


async def test_several_newsletters_in_a_list_belong_to_one_subscriber(
    door: Door, newsletter: Make
) -> None:
    await newsletter("offers")
    await door(sign_up(slug="insights"), sign_up(slug="offers"), sign_up(slug="insights"))
    first, second = await door.rows(tables.subscriptions)
    assert first["subscriber_id"] == second["subscriber_id"]
    assert await door.mails() == ["confirm", "confirm"]


async def test_hundreds_of_strangers_fit_in_one_list(door: Door) -> None:
    await door(*(sign_up(f"{number}@example.org") for number in range(300)))
    assert len(await door.rows(tables.subscribers)) == 300
    assert await door.mails() == ["confirm"] * 300
    report = await door.verify()
    assert (report.events, report.subscriptions, report.broken) == (300, 300, None)


async def test_a_refused_command_does_not_hurt_its_neighbours(door: Door) -> None:
    results = await door(
        sign_up("a@example.org"),
        sign_up("b@example.org", slug="nothing"),
        sign_up("c@example.org", wording="0" * 64),
        sign_up("d@example.org", policy_version="never"),
        imported("e@example.org", slug="nothing"),
        imported("f@example.org"),
    )
    assert answers(results) == ["accepted", "Invalid", "Invalid", "Invalid", "Invalid", "done"]
    emails = {row["email"] for row in await door.rows(tables.subscribers)}
    assert emails == {"a@example.org", "f@example.org"}


async def test_commands_on_one_subscription_are_folded_in_their_order(
    door: Door, clock: Clock
) -> None:
    await door(sign_up())
    clock.advance(minutes=20)
    click, leave = await door.click(), await door.leave()
    results = await door(click, click, leave, click, leave, sign_up())
    assert answers(results) == [
        "confirmed",
        "already_confirmed",
        "left",
        "left_since",
        "left",
        "accepted",
    ]
    assert await door.kinds() == ["requested", "confirmed", "withdrawn", "requested"]
    found = await door.joined()
    assert (found["status"], found["generation"], found["sequence"]) == ("pending", 2, 4)
    assert (await door.verify()).broken is None


async def test_a_stranger_in_the_same_list_does_not_write_through_a_confirmation(
    door: Door, clock: Clock
) -> None:
    await door(sign_up())
    clock.advance(minutes=20)
    await door(await door.click(), await door.leave(), sign_up(name="Mallory"))
    [row] = await door.rows(tables.subscribers)
    assert row["name"] is None


async def test_leaving_at_once_keeps_the_name_that_was_confirmed(door: Door) -> None:
    await door(sign_up(name="Ann"))
    await door(await door.click(), await door.leave())
    [row] = await door.rows(tables.subscribers)
    assert row["name"] == "Ann"


async def test_whoever_asks_in_the_list_that_expires_them_starts_anew(
    door: Door, clock: Clock
) -> None:
    await door(sign_up())
    before = await door.joined()
    clock.advance(days=31)
    results = await door(await door.expire(), sign_up())
    assert answers(results) == ["done", "accepted"]
    after = await door.joined()
    assert (after["status"], after["generation"], after["sequence"]) == ("pending", 1, 1)
    assert after["id"] != before["id"]
    assert answers(await door(await door.click(0))) == ["link_expired"]
    assert (await door.verify()).broken is None


async def test_an_empty_list_is_nothing(door: Door) -> None:
    assert await door() == []
