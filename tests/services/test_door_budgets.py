import pytest

from app.db import tables
from tests.conftest import Clock, Make
from tests.services.people import ANN, Door, answers, sign_up

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]


async def traces(door: Door) -> list[int]:
    named = (tables.subscribers, tables.subscriptions, tables.consent_events, tables.outbox)
    return [len(await door.rows(table)) for table in named]


@pytest.mark.parametrize(
    "again", [ANN, "ANN@Example.org", "ann+1@example.org", "Ann+2@example.org"]
)
async def test_a_sign_up_over_budget_leaves_no_trace(door: Door, again: str) -> None:
    await door(sign_up())
    before = await door.joined(), await traces(door)
    assert answers(await door(sign_up(again, name="Mallory"))) == ["accepted"]
    assert (await door.joined(), await traces(door)) == before
    own = [row for row in await door.rows(tables.mail_budgets) if row["newsletter"]]
    assert [row["refused"] for row in own] == [1]


async def test_dots_at_gmail_are_the_same_person(door: Door) -> None:
    await door(sign_up("a.nn+x@gmail.com"), sign_up("ann@googlemail.com"), sign_up("ANN@gmail.com"))
    assert await traces(door) == [1, 1, 1, 1]


async def test_three_mails_without_an_answer_are_all(door: Door, clock: Clock) -> None:
    for _ in range(5):
        await door(sign_up())
        clock.advance(days=1)
    assert await door.mails() == ["confirm"] * 3
    assert await door.kinds() == ["requested"] * 3


async def test_who_answers_may_ask_three_times_more(door: Door, clock: Clock) -> None:
    for _ in range(3):
        await door(sign_up())
        clock.advance(days=1)
    await door(await door.click())
    await door(await door.leave())
    clock.advance(days=1)
    await door(sign_up())
    assert await door.status() == "pending"


async def test_ten_mails_of_all_newsletters_are_all(
    door: Door, clock: Clock, newsletter: Make
) -> None:
    slugs = [f"n{number}" for number in range(11)]
    for slug in slugs:
        await newsletter(slug)
    await door(*(sign_up(slug=slug) for slug in slugs))
    assert await door.mails() == ["confirm"] * 10
    assert await door.status(slug="n10") == "none"
    clock.advance(days=30)
    await door(sign_up(slug="n10"))
    assert await door.status(slug="n10") == "pending"


async def test_already_subscribed_is_said_once_a_day(door: Door, clock: Clock) -> None:
    await door.bring("confirmed")
    for _ in range(5):
        clock.advance(hours=12)
        await door(sign_up())
    assert await door.mails() == ["confirm", "welcome"] + ["already_subscribed"] * 3


async def test_budgets_hold_neither_address_nor_domain(door: Door) -> None:
    await door(sign_up())
    for row in await door.rows(tables.mail_budgets):
        assert row["hash"] == door.house.budget_hash(ANN)
        assert len(bytes.fromhex(row["hash"])) == 32
