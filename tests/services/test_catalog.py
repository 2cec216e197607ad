"""What a form may name: newsletter, policy, wording."""

from typing import Any

import pytest

from app.domain.errors import Invalid, NoPolicy
from app.services import newsletters
from tests.conftest import Clock, Make
from tests.services.people import Door, answers, sign_up

pytestmark = pytest.mark.anyio


def first_fault(result: Any) -> tuple[str, dict[str, str]]:  # noqa: ANN401 - any result
    assert isinstance(result, Invalid)
    return result.faults[0].pointer, result.faults[0].extra


@pytest.mark.parametrize(("minutes", "accepted"), [(0, True), (59, True), (60, False), (61, False)])
async def test_a_form_that_was_open_may_still_show_the_policy_of_an_hour_ago(
    door: Door, clock: Clock, newsletter: Make, policy: Make, minutes: int, *, accepted: bool
) -> None:
    await newsletter()
    await policy("2026-01")
    clock.advance(days=100)
    await policy("2026-02")
    clock.advance(minutes=minutes)
    [result] = await door(sign_up(policy_version="2026-01"))
    if accepted:
        assert [event["policy_version"] for event in await door.events()] == ["2026-01"]
    else:
        assert first_fault(result) == ("/policy_version", {"current": "2026-02"})
        assert await door.kinds() == []


async def test_a_form_that_names_no_policy_shows_the_newest(
    door: Door, newsletter: Make, policy: Make
) -> None:
    await newsletter()
    await policy("2026-01")
    await policy("2026-02")
    await door(sign_up())
    assert [event["policy_version"] for event in await door.events()] == ["2026-02"]


async def test_an_unknown_policy_is_refused_with_the_current_one(
    door: Door, newsletter: Make, policy: Make
) -> None:
    await newsletter()
    await policy("2026-01")
    [result] = await door(sign_up(policy_version="1999"))
    assert first_fault(result) == ("/policy_version", {"current": "2026-01"})


async def test_without_a_policy_nobody_can_consent(door: Door, newsletter: Make) -> None:
    await newsletter()
    [result] = await door(sign_up())
    assert isinstance(result, NoPolicy)
    assert await door.mails() == []


@pytest.mark.parametrize(
    ("newsletters_there", "named", "answer"),
    [
        ({}, "insights", "Invalid"),
        ({}, None, "Invalid"),
        ({"one": False}, None, "accepted"),
        ({"one": False}, "other", "Invalid"),
        ({"one": False, "two": False}, None, "Invalid"),
        ({"one": False, "two": True}, None, "accepted"),
        ({"one": False, "two": True}, "one", "accepted"),
    ],
)
async def test_a_form_names_a_newsletter_or_means_the_default_or_the_only_one(
    door: Door,
    newsletter: Make,
    policy: Make,
    newsletters_there: dict[str, bool],
    named: str | None,
    answer: str,
) -> None:
    await policy()
    for slug, is_default in newsletters_there.items():
        await newsletter(slug, is_default=is_default)
    assert answers(await door(sign_up(slug=named))) == [answer]
    if answer == "accepted":
        [event] = await door.events()
        assert event["newsletter"] == (named or list(newsletters_there)[-1])


async def test_a_form_may_show_an_older_wording_and_that_is_what_is_recorded(
    door: Door, clock: Clock, newsletter: Make, policy: Make
) -> None:
    await newsletter(consent_text="Old words.", locale="de")
    await policy()
    before = await door.engine.read(lambda c: door.house.catalog.current(c).newsletter("insights"))
    change = {"consent_text": "New words.", "locale": "en"}
    after = await door.engine.write(newsletters.change, "insights", change, clock.now)
    await door(sign_up("a@example.org", wording=before.wording), sign_up("b@example.org"))
    recorded = {(event["wording"], event["locale"]) for event in await door.events()}
    assert recorded == {(before.wording, "de"), (after.wording, "en")}


async def test_the_wording_of_another_newsletter_is_refused(
    door: Door, newsletter: Make, policy: Make
) -> None:
    await newsletter("one", consent_text="One.")
    await newsletter("two", consent_text="Two.")
    await policy()
    other = await door.engine.read(lambda c: door.house.catalog.current(c).newsletter("two"))
    [result] = await door(sign_up(slug="one", wording=other.wording))
    assert first_fault(result) == ("/wording", {})
