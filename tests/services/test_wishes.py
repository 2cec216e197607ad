"""The owner of an address: a link on request, joining at once, and being forgotten."""

import uuid

import pytest

from app.db import subscribers, tables
from app.domain import address
from app.services.commands import AskLink, Command, Erase, SignUp
from app.services.subscriptions import _VERBS
from tests.conftest import Clock, Make
from tests.services.people import ANN, PAGE, Door, answers, imported, sign_up

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]


def ask(email: str = ANN) -> AskLink:
    return AskLink(address=address.parse(email))


async def test_the_door_knows_every_command() -> None:
    assert set(_VERBS) == set(Command.__args__)


async def test_a_link_is_mailed_once_in_a_while_and_only_to_who_is_known(
    door: Door, clock: Clock
) -> None:
    await door.bring("confirmed")
    before = await door.mails()
    clock.advance(minutes=20)
    results = await door(ask(), ask(), ask("Ann+tag@example.org"), ask("nobody@example.org"))
    assert set(answers(results)) == {"accepted"}
    assert await door.mails() == [*before, "preferences_link"]
    clock.advance(minutes=15)
    await door(ask())
    assert await door.mails() == [*before, "preferences_link", "preferences_link"]
    assert await door.kinds() == ["requested", "confirmed"]


async def test_a_link_counts_in_what_one_address_may_be_mailed_in_all(
    door: Door, clock: Clock
) -> None:
    await door.bring("pending")
    for _ in range(20):
        clock.advance(minutes=16)
        await door(ask())
    assert (await door.mails()).count("preferences_link") == 3


async def test_who_complained_gets_no_link(door: Door, clock: Clock) -> None:
    await door.bring("confirmed")
    await door(await door.complain())
    clock.advance(minutes=20)
    await door(ask())
    assert "preferences_link" not in await door.mails()


async def test_a_link_that_waited_too_long_is_not_sent(door: Door, clock: Clock) -> None:
    await door.bring("unsubscribed")
    clock.advance(minutes=20)
    await door(ask())
    clock.advance(minutes=59)
    [lease] = [lease for lease in await door.claim() if lease.kind == "preferences_link"]
    assert lease.subscriber_id == (await door.joined())["subscriber_id"]
    clock.advance(minutes=2)
    assert await door.claim() == []
    [row] = [m for m in await door.rows(tables.outbox) if m["kind"] == "preferences_link"]
    assert (row["state"], row["outcome"]) == ("skipped", "link expired")


async def test_who_is_forgotten_leaves_a_chain_that_holds_and_no_address(
    door: Door, newsletter: Make, clock: Clock
) -> None:
    await newsletter(slug="offers")
    await door.bring("confirmed")
    clock.advance(minutes=20)
    await door(sign_up(slug="offers", name="Ann"))
    assert answers(await door(await door.erase())) == ["done"]
    assert await door.rows(tables.subscriptions) == []
    assert await door.rows(tables.subscribers) == []
    events = await door.events()
    assert [e["kind"] for e in events].count("erased") == 2
    assert {e[name] for e in events for name in ("address", "ip", "user_agent")} == {None}
    assert await door.reasons() == ["erased"]
    assert (await door.verify()).broken is None


async def test_no_import_brings_back_who_was_forgotten_but_a_sign_up_does(
    door: Door, clock: Clock
) -> None:
    await door.bring("confirmed")
    await door(await door.erase())
    assert answers(await door(imported())) == ["unchanged"]
    clock.advance(minutes=20)
    await door(sign_up())
    await door(await door.click())
    assert await door.status() == "confirmed"
    assert await door.reasons() == []


async def test_everybody_may_be_forgotten_in_one_list_with_what_else_happens(door: Door) -> None:
    await door.bring("confirmed")
    erased = await door.erase()
    assert answers(await door(erased, erased, sign_up())) == ["done", "unchanged", "accepted"]
    assert (await door.verify()).broken is None
    nobody = Erase(subscriber=uuid.uuid4(), source=PAGE)
    assert answers(await door(nobody)) == ["unchanged"]


async def test_joining_by_a_fresh_link_names_text_and_policy(door: Door, newsletter: Make) -> None:
    await newsletter(slug="offers", consent_text="Yes, offers!")
    await door.bring("confirmed")
    joined = sign_up(slug="offers", proven=True)
    assert isinstance(joined, SignUp)
    await door(joined)
    assert await door.status(slug="offers") == "confirmed"
    event = (await door.events())[-1]
    assert (event["kind"], event["policy_version"]) == ("confirmed", "2026-01")
    assert event["wording"]
    assert (await door.verify()).broken is None


async def test_a_new_name_and_language_are_kept(door: Door) -> None:
    await door.bring("confirmed")
    known = (await door.joined())["subscriber_id"]
    await door.engine.write(subscribers.rename, known, "Ann", "de")
    [row] = await door.rows(tables.subscribers)
    assert (row["name"], row["locale"]) == ("Ann", "de")
