import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from app.db import suppressions, tables
from app.db.engine import Engine
from app.domain.subscription import Reason
from app.services.house import House
from tests.conftest import Clock, Make, SignUp
from tests.web.answers import body_of, faults, on_sqlite, problem
from tests.web.conftest import Paths, Stored

pytestmark = [pytest.mark.anyio]
opened = pytest.mark.usefixtures("open_house")

Rows = Callable[..., Awaitable[list[dict[str, Any]]]]

WORDING = hashlib.sha256("Yes, please send me “Insights” by e-mail.".encode()).hexdigest()
EVERY_FIELD = {
    "email": "Ann@Example.org",
    "consent": "on",
    "newsletter": "insights",
    "policy_version": "2026-01",
    "wording": WORDING,
    "name": "  Ann O'Hara ",
    "locale": "pt-BR",
    "page_url": "https://user:pw@www.example.org/join?utm=1#top",
    "website": "",
}
FORM = {"email": "ann@example.org", "consent": "on"}


@opened
@pytest.mark.parametrize(
    ("kind", "method"), [("json", "api"), ("urlencoded", "form"), ("multipart", "form")]
)
async def test_every_kind_of_body_carries_every_field(
    client: httpx.AsyncClient, rows: Rows, kind: str, method: str
) -> None:
    headers = {"Accept": "application/json", "User-Agent": "a browser"}
    answer = await client.post("/v1/subscriptions", **body_of(kind, EVERY_FIELD), headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (202, "accepted")
    [subscriber] = await rows(tables.subscribers)
    assert (subscriber["email"], subscriber["email_key"]) == ("Ann@example.org", "ann@example.org")
    assert subscriber["name"] is None, "a stranger cannot name a person"
    [subscription] = await rows(tables.subscriptions)
    assert subscription["status"] == "pending"
    assert (subscription["pending_name"], subscription["pending_locale"]) == ("Ann O'Hara", "pt-BR")
    [event] = await rows(tables.consent_events)
    wanted = {
        "kind": "requested",
        "method": method,
        "newsletter": "insights",
        "policy_version": "2026-01",
        "wording": WORDING,
        "page_url": "https://www.example.org/join",
        "ip": "127.0.0.1",
        "user_agent": "a browser",
        "address": "Ann@example.org",
    }
    assert {name: event[name] for name in wanted} == wanted


@on_sqlite
@opened
@pytest.mark.parametrize("kind", ["urlencoded", "multipart"])
async def test_a_form_may_agree_in_several_words(client: httpx.AsyncClient, kind: str) -> None:
    for word in ("on", "true", "1", "yes", "ON", "True"):
        body = body_of(kind, {**FORM, "consent": word})
        assert (await client.post("/v1/subscriptions", **body)).status_code == 303, word


@on_sqlite
@opened
async def test_a_form_without_consent_is_refused(client: httpx.AsyncClient, stored: Stored) -> None:
    before = await stored()
    email = {"email": "ann@example.org"}
    words = ("", "off", "false", "0", "no", "yes please")
    for form in (email, *({**email, "consent": word} for word in words)):
        headers = {"Accept": "application/json"}
        answer = await client.post("/v1/subscriptions", data=form, headers=headers)
        assert faults(answer) == ["/consent"], form
    assert await stored() == before


@on_sqlite
@opened
async def test_consent_in_json_is_true_and_nothing_else(sign_up: SignUp, stored: Stored) -> None:
    before = await stored()
    for value in (False, "yes", "true", "on", 1, None, [], [True]):
        assert faults(await sign_up(consent=value)) == ["/consent"], value
    assert await stored() == before


@opened
@pytest.mark.parametrize("kind", ["json", "urlencoded", "multipart"])
async def test_who_fills_the_honeypot_gets_the_same_answer_and_nothing_else(
    client: httpx.AsyncClient, stored: Stored, kind: str
) -> None:
    before = await stored()
    baited = {**FORM, "website": "https://buy.example"}
    robot = await client.post("/v1/subscriptions", **body_of(kind, baited))
    assert await stored() == before
    person = await client.post("/v1/subscriptions", **body_of(kind, FORM))
    assert (robot.status_code, robot.content) == (person.status_code, person.content)
    assert robot.headers == person.headers
    assert await stored() != before


@opened
async def test_the_answer_does_not_tell_what_is_known_of_an_address(
    client: httpx.AsyncClient,
    sign_up: SignUp,
    paths: Paths,
    engine: Engine,
    house: House,
    clock: Clock,
) -> None:
    answers = {"new": await sign_up()}
    answers["over budget"] = await sign_up()
    clock.advance(hours=1)
    answers["pending"] = await sign_up()
    await client.post((await paths())["confirm"])
    clock.advance(hours=1)
    answers["confirmed"] = await sign_up()
    await client.post((await paths())["unsubscribe"])
    clock.advance(hours=1)
    answers["unsubscribed"] = await sign_up()
    complained = [(house.address_hash("ann@example.org"), Reason.COMPLAINT)]
    await engine.write(suppressions.add, complained, clock.now)
    clock.advance(days=31)
    answers["suppressed"] = await sign_up()
    answers["honeypot"] = await sign_up(website="x")
    seen = {(a.status_code, a.content, tuple(a.headers.items())) for a in answers.values()}
    assert len(seen) == 1, seen


@opened
async def test_a_suppressed_or_refused_sign_up_leaves_only_a_counter(
    sign_up: SignUp, stored: Stored, engine: Engine, house: House, clock: Clock
) -> None:
    await sign_up()
    before = await stored()
    await sign_up("ANN+tag@example.org", name="Somebody")
    after = await stored()
    counted = after.pop("mail_budgets"), before.pop("mail_budgets")
    assert after == before
    assert [sum(row["refused"] for row in table) for table in counted] == [1, 0]
    blocked = [(house.address_hash("bob@example.org"), Reason.HARD_BOUNCE)]
    await engine.write(suppressions.add, blocked, clock.now)
    await sign_up("bob@example.org")
    assert (await stored())["subscribers"] == before["subscribers"]


@opened
async def test_a_superseded_policy_is_taken_for_an_hour_and_recorded_as_shown(
    sign_up: SignUp, policy: Make, rows: Rows, clock: Clock
) -> None:
    clock.advance(days=1)
    await policy("2026-02")
    clock.advance(minutes=59)
    assert (await sign_up(policy_version="2026-01")).status_code == 202
    assert (await sign_up("bob@example.org")).status_code == 202
    shown = [event["policy_version"] for event in await rows(tables.consent_events)]
    assert shown == ["2026-01", "2026-02"]
    clock.advance(minutes=1)
    [fault] = problem(await sign_up(policy_version="2026-01"), 422, "invalid")["errors"]
    assert (fault["pointer"], fault["current"]) == ("/policy_version", "2026-02")
    assert (await sign_up(policy_version="2026-02")).status_code == 202


@opened
async def test_what_a_sign_up_names_must_be_there(sign_up: SignUp, stored: Stored) -> None:
    before = await stored()
    for field, value in (
        ("newsletter", "nope"),
        ("newsletter", "Insights"),
        ("policy_version", "1999-01"),
        ("wording", "0" * 64),
        ("wording", WORDING.upper()),
    ):
        assert faults(await sign_up(**{field: value})) == [f"/{field}"]
    assert await stored() == before


async def test_without_a_policy_nobody_can_sign_up(
    sign_up: SignUp, client: httpx.AsyncClient, newsletter: Make, stored: Stored
) -> None:
    await newsletter()
    before = await stored()
    problem(await sign_up(), 503, "no-policy")
    problem(await client.get("/v1/newsletters/insights/form"), 503, "no-policy")
    assert await stored() == before


@opened
async def test_the_newsletter_is_the_named_one_or_the_default(
    sign_up: SignUp, newsletter: Make, rows: Rows
) -> None:
    await newsletter("other")
    await sign_up(newsletter="other")
    await sign_up()
    named = [row["newsletter"] for row in await rows(tables.subscriptions)]
    assert sorted(named) == ["insights", "other"]


async def test_of_several_newsletters_without_a_default_one_must_be_named(
    sign_up: SignUp, newsletter: Make, policy: Make
) -> None:
    await policy()
    await newsletter("only")
    assert (await sign_up()).status_code == 202
    await newsletter("other")
    assert faults(await sign_up("bob@example.org")) == ["/newsletter"]


@on_sqlite
@opened
async def test_unknown_query_parameters_and_form_fields_are_ignored(
    client: httpx.AsyncClient,
) -> None:
    tracked = "/v1/subscriptions?utm_source=mail&newsletter=nope"
    extra = {**FORM, "submit": "Sign up", "csrf": "x"}
    for answer in (
        await client.post(tracked, json={"email": "ann@example.org", "consent": True}),
        await client.post(tracked, data=extra, headers={"Accept": "application/json"}),
        await client.post(
            tracked, **body_of("multipart", extra), headers={"Accept": "application/json"}
        ),
    ):
        assert answer.status_code == 202


@on_sqlite
@opened
async def test_a_bad_page_url_is_not_worth_losing_a_subscriber(sign_up: SignUp, rows: Rows) -> None:
    bad = ("javascript:alert(1)", "not a url", "https://", "http://[", "x" * 3000, "a\u202eb")
    for number, url in enumerate(bad):
        assert (await sign_up(f"p{number}@example.org", page_url=url)).status_code == 202
    assert [event["page_url"] for event in await rows(tables.consent_events)] == [None] * len(bad)


@on_sqlite
@opened
@pytest.mark.parametrize("blank", ["", "   "])
async def test_a_field_left_blank_in_a_form_is_a_field_left_out(
    client: httpx.AsyncClient, rows: Rows, blank: str
) -> None:
    optional = dict.fromkeys(
        ("newsletter", "policy_version", "wording", "name", "locale", "page_url", "website"), blank
    )
    answer = await client.post("/v1/subscriptions", data={**FORM, **optional})
    assert answer.status_code == 303
    [row] = await rows(tables.subscriptions)
    assert (row["pending_name"], row["pending_locale"]) == (None, None)


@opened
async def test_the_form_description_is_all_that_a_form_of_ones_own_needs(
    client: httpx.AsyncClient,
) -> None:
    described = (await client.get("/v1/newsletters/insights/form")).json()
    assert described["promise"] == "No spam; unsubscribe easily at any time."
    assert described["wording"] == hashlib.sha256(described["consent_text"].encode()).hexdigest()
    assert set(described["fields"]) == set(EVERY_FIELD)
    shown = {name: described[name] for name in ("newsletter", "policy_version", "wording")}
    answer = await client.post(
        described["action"], json={"email": "ann@example.org", "consent": True, **shown}
    )
    assert answer.status_code == 202
    problem(await client.get("/v1/newsletters/nope/form"), 404, "not-found")
