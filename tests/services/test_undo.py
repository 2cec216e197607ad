"""Leaving by mistake: taken back for a quarter of an hour, and explained by whoever likes to."""

import pytest

from app.domain.subscription import Why
from app.services.commands import Done, Explain, Result
from tests.conftest import Clock
from tests.services.people import Door, answers, imported, sign_up

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]


def undoable(results: list[Result]) -> list[bool]:
    return [isinstance(result, Done) and result.can_undo for result in results]


async def test_what_was_left_by_mistake_goes_on_as_before(door: Door, clock: Clock) -> None:
    await door.bring("confirmed")
    before = await door.joined()
    clock.advance(days=2)
    assert undoable(await door(await door.leave())) == [True]
    clock.advance(minutes=14, seconds=59)
    assert answers(await door(await door.undo())) == ["confirmed"]
    after = await door.joined()
    kept = ("status", "generation", "requested_at", "confirmed_at", "ended_at")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert await door.kinds() == ["requested", "confirmed", "withdrawn", "confirmed"]
    asked, _, _, again = await door.events()
    agreed = ("policy_version", "wording", "locale")
    assert [again[name] for name in agreed] == [asked[name] for name in agreed]
    assert (again["confirms"], again["method"]) == (asked["sequence"], "page")
    assert (await door.verify()).broken is None
    assert answers(await door(await door.undo())) == ["already_confirmed"]


async def test_after_a_quarter_of_an_hour_it_is_too_late(door: Door, clock: Clock) -> None:
    await door.bring("unsubscribed")
    clock.advance(minutes=15)
    assert undoable(await door(await door.leave())) == [False]
    assert answers(await door(await door.undo())) == ["too_late"]
    assert await door.status() == "unsubscribed"


async def test_what_was_never_confirmed_cannot_be_taken_back(door: Door, clock: Clock) -> None:
    await door.bring("pending")
    assert undoable(await door(await door.leave())) == [False]
    assert answers(await door(await door.undo())) == ["too_late"]
    # Nor by the confirmation of an earlier time.
    await door.bring("unsubscribed", "bob@example.org")
    clock.advance(minutes=20)
    await door(sign_up("bob@example.org"))
    assert undoable(await door(await door.leave("bob@example.org"))) == [False]
    assert answers(await door(await door.undo("bob@example.org"))) == ["too_late"]


async def test_who_complained_is_left_alone(door: Door) -> None:
    await door.bring("confirmed")
    assert undoable(await door(await door.complain())) == [False]
    assert answers(await door(await door.undo())) == ["too_late"]
    assert await door.status() == "unsubscribed"


async def test_consent_given_elsewhere_is_named_when_it_holds_again(door: Door) -> None:
    await door(imported())
    await door(await door.leave())
    assert answers(await door(await door.undo())) == ["confirmed"]
    first, _, again = await door.events()
    assert (first["kind"], again["confirms"]) == ("imported", first["sequence"])
    assert (await door.verify()).broken is None


async def test_leaving_and_taking_it_back_may_arrive_together(door: Door) -> None:
    await door.bring("confirmed")
    results = await door(await door.leave(), await door.undo(), await door.leave())
    assert answers(results) == ["left", "confirmed", "left"]
    assert await door.status() == "unsubscribed"
    assert (await door.verify()).broken is None


async def test_a_reason_is_kept_until_the_next_sign_up(door: Door, clock: Clock) -> None:
    await door.bring("unsubscribed")
    known = (await door.joined())["id"]
    for why in (Why.OTHER, Why.TOO_MANY):
        assert answers(await door(Explain(subscription=known, why=why))) == ["done"]
    assert (await door.joined())["left_because"] == "too_many"
    events = await door.kinds()
    clock.advance(minutes=20)
    await door(sign_up())
    assert (await door.joined())["left_because"] is None
    assert await door.kinds() == [*events, "requested"]


async def test_who_has_not_left_has_no_reason(door: Door) -> None:
    await door.bring("confirmed")
    known = (await door.joined())["id"]
    nobody = door.house.new_id()
    commands = [Explain(subscription=each, why=Why.OTHER) for each in (known, nobody)]
    assert answers(await door(*commands)) == ["unchanged", "unchanged"]
    assert (await door.joined())["left_because"] is None
