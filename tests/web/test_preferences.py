"""One page for all newsletters: leave, pause and join in one submit; joining is asked by mail."""

import html as entities
import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.services import links
from app.services.house import House
from app.tokens import Purpose, pack
from tests.conftest import Clock, DeliverAll, Make, SignUp
from tests.web.answers import html
from tests.web.conftest import Paths, Stored

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]


@pytest.fixture
async def page(client: httpx.AsyncClient, newsletter: Make, sign_up: SignUp, paths: Paths) -> str:
    """The preferences of somebody who receives Insights, and could have Offers, too."""
    await newsletter(slug="offers", name="Offers", consent_text="Yes, offers!")
    await sign_up("ann@example.org", newsletter="insights", locale="en")
    await client.post((await paths())["confirm"])
    shown = html(await client.get((await paths())["unsubscribe"]), 200)
    found = re.search(r'href="(/preferences/[^"]+)"', shown)
    assert found
    return found[1]


def fields(page: str) -> dict[str, str]:
    """Return what a browser would post of the page as it is."""
    found = {}
    for tag in re.findall(r"<input[^>]+>", page):
        values = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if values["type"] == "hidden" or " checked" in tag:
            found[values["name"]] = entities.unescape(values["value"])
    for name, body in re.findall(r'<select[^>]+name="([^"]+)">(.*?)</select>', page, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', body) or re.search(r'value="([^"]*)"', body)
        assert chosen
        found[name] = chosen[1]
    return found


async def statuses(stored: Stored) -> dict[str, str]:
    return {row["newsletter"]: row["status"] for row in (await stored())["subscriptions"]}


async def test_a_forwarded_mail_shows_no_address(client: httpx.AsyncClient, page: str) -> None:
    shown = await client.get(page)
    assert "a…@example.org" in html(shown, 200)
    assert "ann@" not in shown.text
    assert shown.headers["cache-control"] == "no-store"
    assert shown.headers["referrer-policy"] == "no-referrer"


async def test_looking_and_saving_nothing_new_changes_nothing(
    client: httpx.AsyncClient, page: str, stored: Stored
) -> None:
    before = await stored()
    shown = html(await client.get(page), 200)
    assert await stored() == before
    saved = html(await client.post(page, data=fields(shown)), 200)
    assert "Saved" in saved
    assert await stored() == before


async def test_leaving_and_joining_go_in_one_submit_and_joining_is_asked_by_mail(
    client: httpx.AsyncClient, page: str, stored: Stored, clock: Clock
) -> None:
    clock.advance(minutes=20)
    posted = fields(html(await client.get(page), 200))
    del posted["on.insights"]
    saved = html(await client.post(page, data={**posted, "on.offers": "on"}), 200)
    assert "open the mail that is on its way" in saved
    assert await statuses(stored) == {"insights": "unsubscribed", "offers": "pending"}
    after = await stored()
    assert after["outbox"][-1]["kind"] == "confirm"
    events = after["consent_events"][-2:]
    assert {(e["kind"], e["method"]) for e in events} == {
        ("withdrawn", "preferences"),
        ("requested", "preferences"),
    }
    [asked] = [event for event in events if event["kind"] == "requested"]
    offers = [row for row in after["newsletters"] if row["slug"] == "offers"]
    assert asked["wording"] == offers[0]["wording"]
    again = html(await client.post(page, data=fields(saved)), 200)
    assert "Waiting for you to confirm" in again
    assert len((await stored())["consent_events"]) == len(after["consent_events"])


async def test_many_newsletters_fit_on_the_page(
    client: httpx.AsyncClient, page: str, newsletter: Make, stored: Stored
) -> None:
    for number in range(30):
        await newsletter(slug=f"more-{number}")
    posted = fields(html(await client.get(page), 200))
    assert len(posted) > 90
    html(await client.post(page, data={**posted, "on.more-29": "on"}), 200)
    assert (await statuses(stored))["more-29"] == "pending"


@pytest.mark.parametrize("days", [30, 90])
async def test_a_pause_begins_and_ends(
    client: httpx.AsyncClient, page: str, stored: Stored, clock: Clock, days: int
) -> None:
    async def until() -> Any:  # noqa: ANN401 - a time or None
        [row] = [r for r in (await stored())["subscriptions"] if r["newsletter"] == "insights"]
        return row["paused_until"]

    posted = fields(html(await client.get(page), 200))
    saved = html(await client.post(page, data={**posted, "pause.insights": str(days)}), 200)
    assert await until() == clock.now + timedelta(days=days)
    clock.advance(days=1)
    await client.post(page, data=fields(saved))
    assert await until() == clock.now + timedelta(days=days - 1), "what was not touched stays"
    await client.post(page, data={**posted, "pause.insights": "0"})
    assert await until() is None
    assert await statuses(stored) == {"insights": "confirmed"}


async def test_what_was_not_on_the_page_stays(
    client: httpx.AsyncClient, page: str, stored: Stored
) -> None:
    before = await stored()
    html(await client.post(page, data={"shown.offers": "1", "on.nothing": "on"}), 200)
    html(await client.post(page, data={"x": "1"}), 200)
    assert await stored() == before


@pytest.mark.parametrize(
    "bad", [{"pause.insights": "36500"}, {"pause.insights": "-1"}, {"pause.insights": "٣٠"}]
)
async def test_a_pause_of_any_other_length_is_refused(
    client: httpx.AsyncClient, page: str, stored: Stored, bad: dict[str, str]
) -> None:
    before = await stored()
    posted = fields(html(await client.get(page), 200))
    html(await client.post(page, data={**posted, **bad}), 422)
    assert await stored() == before


async def test_an_old_text_or_policy_is_not_agreed_to(
    client: httpx.AsyncClient, page: str, stored: Stored
) -> None:
    before = await stored()
    posted = fields(html(await client.get(page), 200))
    for bad in ({"wording.offers": "0" * 64}, {"policy.offers": "never"}):
        wish = {**posted, "on.offers": "on", **bad}
        del wish["on.insights"]
        html(await client.post(page, data=wish), 422)
    assert await stored() == before


@pytest.fixture
async def fresh(client: httpx.AsyncClient, page: str, deliver_all: DeliverAll, clock: Clock) -> str:
    """The page by a link that was mailed on request."""
    assert page
    await deliver_all()
    clock.advance(minutes=20)
    asked = await client.post("/preferences", data={"email": "ann@example.org"})
    assert "If we know this address" in html(asked, 200)
    mail = (await deliver_all())[-1]
    found = re.search(r"(/preferences/[\w.-]+)", mail.text)
    assert found
    return found[1]


async def test_the_link_on_request_opens_everything_for_an_hour(
    client: httpx.AsyncClient, fresh: str, clock: Clock
) -> None:
    shown = html(await client.get(fresh), 200)
    assert "ann@example.org" in shown
    assert 'name="name"' in shown
    clock.advance(minutes=60)
    for late in (
        await client.get(fresh),
        await client.post(fresh),
        await client.get(f"{fresh}/data"),
    ):
        assert "Ask for a new one" in html(late, 410)


async def test_who_has_a_fresh_link_joins_without_another_mail(
    client: httpx.AsyncClient, fresh: str, stored: Stored
) -> None:
    posted = fields(html(await client.get(fresh), 200))
    mails = len((await stored())["outbox"])
    await client.post(fresh, data={**posted, "on.offers": "on", "name": "Ann", "locale": "de"})
    after = await stored()
    assert await statuses(stored) == {"insights": "confirmed", "offers": "confirmed"}
    assert len(after["outbox"]) == mails
    [row] = after["subscribers"]
    assert (row["name"], row["locale"]) == ("Ann", "de")
    assert '<html lang="de"' in html(await client.get(fresh), 200)
    wrong = {**posted, "name": "www.a.example", "on.offers": "on"}
    html(await client.post(fresh, data=wrong), 422)
    html(await client.post(fresh, data={**posted, "on.offers": "on", "locale": "xx"}), 200)
    assert [row["locale"] for row in (await stored())["subscribers"]] == ["de"]


async def test_a_copy_of_all_that_is_kept(client: httpx.AsyncClient, fresh: str) -> None:
    copy = await client.get(f"{fresh}/data")
    assert copy.status_code == 200
    assert "attachment" in copy.headers["content-disposition"]
    assert copy.headers["cache-control"] == "no-store"
    kept = copy.json()
    assert kept["subscriber"]["email"] == "ann@example.org"
    assert [event["kind"] for event in kept["events"]] == ["requested", "confirmed"]
    assert kept["verified"] is True


async def test_who_wants_to_be_forgotten_ticks_a_box_and_is(
    client: httpx.AsyncClient, fresh: str, stored: Stored
) -> None:
    before = await stored()
    html(await client.post(f"{fresh}/erase", data={"x": "1"}), 422)
    assert await stored() == before
    assert "You are forgotten" in html(
        await client.post(f"{fresh}/erase", data={"sure": "yes"}), 200
    )
    after = await stored()
    assert after["subscribers"] == after["subscriptions"] == []
    assert "ann@example.org" not in repr(after)
    html(await client.get(fresh), 410)


async def test_a_link_that_others_may_have_opens_nothing_of_that(
    client: httpx.AsyncClient, page: str, stored: Stored
) -> None:
    before = await stored()
    html(await client.get(f"{page}/data"), 404)
    html(await client.post(f"{page}/erase", data={"sure": "yes"}), 404)
    posted = fields(html(await client.get(page), 200))
    html(await client.post(page, data={**posted, "name": "Mallory", "locale": "fr"}), 200)
    assert await stored() == before


async def test_asking_for_the_link_tells_nothing_about_the_address(
    client: httpx.AsyncClient, page: str, stored: Stored, clock: Clock
) -> None:
    assert page
    clock.advance(minutes=20)
    answers = [
        await client.post("/preferences", data={"email": email})
        for email in ("ann@example.org", "ann@example.org", "nobody@example.org")
    ]
    assert len({(a.status_code, a.content, str(a.headers)) for a in answers}) == 1
    assert [m["kind"] for m in (await stored())["outbox"]].count("preferences_link") == 1
    wrong = html(await client.post("/preferences", data={"email": "nobody"}), 422)
    assert 'aria-describedby="email-fault"' in wrong
    assert (await client.post("/preferences", json={"email": "a@b.c"})).status_code == 415
    assert 'action="/preferences"' in html(await client.get("/preferences"), 200)


async def test_no_other_link_opens_the_page(
    client: httpx.AsyncClient, page: str, paths: Paths, house: House, clock: Clock
) -> None:
    for other in (await paths()).values():
        token = other.rpartition("/")[2]
        html(await client.get(f"/preferences/{token}"), 404)
        html(await client.post(f"/preferences/{token}"), 404)
    token = page.rpartition("/")[2]
    html(await client.get(f"/unsubscribe/{token}"), 404)
    html(await client.get(f"/confirm/{token}"), 404)
    gone = links.preferences_path(house, uuid4(), clock.now)
    assert "Nothing is kept about you" in html(await client.get(gone), 410)
    short = house.tokens.sign(Purpose.PREFERENCES, pack(uuid4())[:-1], clock.now)
    html(await client.get(f"/preferences/{short}"), 404)
