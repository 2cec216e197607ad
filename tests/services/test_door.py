"""Every row and column of the table of transitions, through the door."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from app.db import tables
from app.services.commands import Command, Complain, Confirm, Unsubscribe
from tests.conftest import Clock, Make
from tests.services.people import ANN, PAGE, Door, answers, imported, sign_up

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]

# status, what happens -> answer, status, consent event, mail, suppression
TABLE = """
none         sign_up     accepted          pending      requested confirm            -
none         join        accepted          confirmed    confirmed welcome            -
none         import      done              confirmed    imported  -                  -
pending      sign_up     accepted          pending      requested confirm            -
pending      confirm     confirmed         confirmed    confirmed welcome            -
pending      unsubscribe left              unsubscribed withdrawn -                  -
pending      join        accepted          confirmed    confirmed welcome            -
pending      erase       done              none         erased    -                  erased
pending      undo        too_late          pending      -         -                  -
pending      complaint   left              unsubscribed withdrawn -                  complaint
pending      hard_bounce left              pending      -         -                  hard_bounce
pending      import      done              confirmed    imported  -                  -
pending      expire      done              none         expired   -                  -
confirmed    sign_up     accepted          confirmed    -         already_subscribed -
confirmed    confirm     already_confirmed confirmed    -         -                  -
confirmed    unsubscribe left              unsubscribed withdrawn -                  -
confirmed    join        accepted          confirmed    -         -                  -
confirmed    erase       done              none         erased    -                  erased
confirmed    undo        already_confirmed confirmed    -         -                  -
confirmed    complaint   left              unsubscribed withdrawn -                  complaint
confirmed    hard_bounce left              confirmed    -         -                  hard_bounce
confirmed    import      unchanged         confirmed    -         -                  -
confirmed    expire      unchanged         confirmed    -         -                  -
unsubscribed sign_up     accepted          pending      requested confirm            -
unsubscribed confirm     left_since        unsubscribed -         -                  -
unsubscribed unsubscribe left              unsubscribed -         -                  -
unsubscribed join        accepted          confirmed    confirmed welcome            -
unsubscribed erase       done              none         erased    -                  erased
unsubscribed undo        too_late          unsubscribed -         -                  -
unsubscribed complaint   left              unsubscribed -         -                  complaint
unsubscribed hard_bounce left              unsubscribed -         -                  hard_bounce
unsubscribed import      unchanged         unsubscribed -         -                  -
unsubscribed expire      unchanged         unsubscribed -         -                  -
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]


async def command(door: Door, event: str, email: str) -> Command:
    match event:
        case "sign_up":
            return sign_up(email)
        case "join":
            return sign_up(email, proven=True)
        case "import":
            return imported(email)
        case "confirm":
            return await door.click()
    made: dict[str, Callable[[str], Awaitable[Command]]] = {
        "unsubscribe": door.leave,
        "undo": door.undo,
        "complaint": door.complain,
        "hard_bounce": door.bounce,
        "expire": door.expire,
        "erase": door.erase,
    }
    return await made[event](email)


async def test_an_event_does_what_the_table_says(door: Door, clock: Clock) -> None:
    for number, (before, event, *expected) in enumerate(ROWS):
        email = f"{number}@example.org"
        await door.bring(before, email)
        clock.advance(days=1, minutes=1)
        events, mails = await door.kinds(), await door.mails()
        suppressed = await door.rows(tables.suppressions)

        results = await door(await command(door, event, email))

        new = [row for row in await door.rows(tables.suppressions) if row not in suppressed]
        assert (
            before,
            event,
            *found_words(
                answers(results),
                [await door.status(email)],
                (await door.kinds())[len(events) :],
                (await door.mails())[len(mails) :],
                [row["reason"] for row in new],
            ),
        ) == (before, event, *expected)
    assert (await door.verify()).broken is None


def found_words(*lists: list[str]) -> list[str]:
    return [" ".join(words) or "-" for words in lists]


async def test_what_is_unknown_is_answered_and_changes_nothing(door: Door) -> None:
    nobody = door.house.new_id()
    gone = Confirm(subscription=nobody, generation=1, sequence=1, expired=False, source=PAGE)
    results = await door(
        gone,
        Unsubscribe(subscription=nobody, source=PAGE),
        Complain(subscription=nobody, source=PAGE),
    )
    assert answers(results) == ["link_expired", "left", "left"]
    assert await door.kinds() == await door.mails() == await door.reasons() == []


async def test_a_request_is_recorded_with_all_that_proves_it(door: Door, clock: Clock) -> None:
    await door(sign_up("Ann@example.org"))
    [event] = await door.events()
    found = {name: event[name] for name in ("method", "address", "ip", "user_agent", "page_url")}
    assert found == {
        "method": "form",
        "address": "Ann@example.org",
        "ip": "192.0.2.1",
        "user_agent": "Mozilla/5.0",
        "page_url": "https://example.org/blog",
    }
    [wording] = await door.rows(tables.wordings)
    shown = (event["policy_version"], event["wording"], event["locale"], event["at"])
    assert shown == ("2026-01", wording["hash"], wording["locale"], clock.now)


async def test_a_confirmation_names_its_request_and_copies_what_that_one_agreed_to(
    door: Door, clock: Clock, policy: Make
) -> None:
    await door(sign_up())
    await policy("2026-02")
    clock.advance(minutes=20)
    await door(sign_up())
    await door(await door.click(0))
    first, second, confirmed = await door.events()
    assert (first["policy_version"], second["policy_version"]) == ("2026-01", "2026-02")
    assert (confirmed["confirms"], confirmed["policy_version"]) == (1, "2026-01")
    assert (confirmed["wording"], confirmed["locale"]) == (first["wording"], first["locale"])
    assert (confirmed["method"], confirmed["ip"]) == ("page", "192.0.2.2")


async def test_an_import_keeps_the_evidence_and_who_brought_it(door: Door) -> None:
    await door(imported())
    [event] = await door.events()
    assert (event["method"], event["actor"], event["evidence"]) == (
        "import",
        "a1b2",
        "paper form 7",
    )
    assert (event["policy_version"], event["wording"]) == (None, None)


async def test_an_import_of_somebody_who_is_back_forgets_the_end(door: Door, clock: Clock) -> None:
    await door.bring("unsubscribed")
    clock.advance(minutes=20)
    await door(sign_up())
    await door(imported())
    found = await door.joined()
    assert (found["status"], found["ended_at"], found["confirmed_at"]) == (
        "confirmed",
        None,
        clock.now,
    )


async def test_asking_again_at_once_leaves_the_first_link_valid(door: Door) -> None:
    await door(sign_up())
    await door(sign_up())
    assert await door.mails() == ["confirm"]
    assert answers(await door(await door.click(0))) == ["confirmed"]


@pytest.mark.parametrize("which", [0, 1])
async def test_asking_again_later_keeps_the_generation_and_both_links_work(
    door: Door, clock: Clock, which: int
) -> None:
    await door(sign_up())
    clock.advance(minutes=15)
    await door(sign_up())
    assert (await door.joined())["generation"] == 1
    assert answers(await door(await door.click(which))) == ["confirmed"]
    assert answers(await door(await door.click(1 - which))) == ["already_confirmed"]
    assert (await door.events())[-1]["confirms"] == which + 1


async def test_who_left_and_asks_at_once_stays_away(door: Door) -> None:
    await door.bring("unsubscribed")
    before = await door.joined()
    await door(sign_up())
    assert await door.joined() == before
    assert await door.mails() == ["confirm", "welcome"]
    assert answers(await door(await door.click())) == ["left_since"]


async def test_an_old_link_cannot_bring_back_somebody_who_left(door: Door, clock: Clock) -> None:
    await door.bring("unsubscribed")
    clock.advance(minutes=15)
    await door(sign_up())
    assert (await door.joined())["generation"] == 2
    assert answers(await door(await door.click(0))) == ["left_since"]
    assert await door.status() == "pending"
    assert answers(await door(await door.click(1))) == ["confirmed"]


@pytest.mark.parametrize(
    ("age", "answer"),
    [
        (timedelta(days=7, microseconds=-1), "confirmed"),
        (timedelta(days=7, seconds=1), "link_expired"),
    ],
)
async def test_a_link_lives_for_seven_days(
    door: Door, clock: Clock, age: timedelta, answer: str
) -> None:
    clock.now = clock.now.replace(microsecond=0)  # a token carries whole seconds
    await door(sign_up())
    clock.now += age
    assert answers(await door(await door.click())) == [answer]


async def test_a_second_click_changes_nothing(door: Door, clock: Clock) -> None:
    await door.bring("confirmed")
    before = await door.joined(), await door.kinds(), await door.mails()
    clock.advance(days=30)
    assert answers(await door(await door.click())) == ["already_confirmed"]
    assert (await door.joined(), await door.kinds(), await door.mails()) == before


async def test_without_a_welcome_confirming_sends_nothing(door: Door, newsletter: Make) -> None:
    await newsletter("plain", welcome=False)
    await door(sign_up(slug="plain"))
    await door(await door.click())
    assert await door.mails() == ["confirm"]


async def test_name_and_language_wait_for_the_confirmation(door: Door) -> None:
    await door(sign_up(name="Ann", locale="de"))
    [before] = await door.rows(tables.subscribers)
    await door(await door.click())
    [after] = await door.rows(tables.subscribers)
    assert (before["name"], before["locale"]) == (None, None)
    assert (after["name"], after["locale"]) == ("Ann", "de")
    found = await door.joined()
    assert (found["pending_name"], found["pending_locale"]) == (None, None)


async def test_a_stranger_who_asks_again_cannot_overwrite_them(door: Door, clock: Clock) -> None:
    await door(sign_up(name="Ann"))
    clock.advance(minutes=20)
    await door(sign_up(name="Mallory", locale="fr"))
    await door(await door.click())
    [after] = await door.rows(tables.subscribers)
    assert (after["name"], after["locale"]) == ("Ann", "fr")


async def test_a_confirmation_fills_only_what_is_empty(
    door: Door, clock: Clock, newsletter: Make
) -> None:
    await newsletter("offers")
    await door(sign_up(name="Ann"))
    await door(await door.click())
    clock.advance(minutes=20)
    await door(sign_up(slug="offers", name="Mallory", locale="fr"))
    await door(await door.click())
    [after] = await door.rows(tables.subscribers)
    assert (after["name"], after["locale"]) == ("Ann", "fr")


async def test_what_was_typed_before_somebody_left_is_forgotten(door: Door, clock: Clock) -> None:
    await door(sign_up(name="Mallory"))
    await door(await door.leave())
    clock.advance(minutes=20)
    await door(sign_up(name="Ann"))
    await door(await door.click())
    [after] = await door.rows(tables.subscribers)
    assert after["name"] == "Ann"


async def test_the_first_spelling_of_an_address_is_kept(door: Door, clock: Clock) -> None:
    await door(sign_up("Ann@Example.org"))
    clock.advance(minutes=20)
    await door(sign_up("ANN@example.ORG"))
    [row] = await door.rows(tables.subscribers)
    assert (row["email"], row["email_key"]) == ("Ann@example.org", ANN)
    assert await door.mails() == ["confirm", "confirm"]
