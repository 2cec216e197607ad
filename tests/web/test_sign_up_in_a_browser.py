import httpx
import pytest

from tests.conftest import Clock, Make
from tests.web.answers import VARY, body_of, faults, html, on_sqlite, problem
from tests.web.conftest import Stored

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house"), on_sqlite]

FORM = {"email": "ann@example.org", "consent": "on"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
OURS, THEIRS = "https://www.example.org", "https://other.example.net"


@pytest.mark.parametrize(
    ("kind", "headers", "status"),
    [
        ("urlencoded", {}, 303),
        ("urlencoded", {"Accept": "*/*"}, 303),
        ("multipart", BROWSER, 303),
        ("urlencoded", BROWSER, 303),
        ("urlencoded", {"Accept": "application/json"}, 202),
        ("urlencoded", {"Accept": "text/html, Application/JSON;q=0.5"}, 202),
        ("urlencoded", {"Sec-Fetch-Mode": "cors"}, 202),
        ("multipart", {"Sec-Fetch-Mode": "cors"}, 202),
        ("json", {"Accept": "text/html"}, 202),
        ("json", {"Sec-Fetch-Mode": "navigate"}, 202),
    ],
)
async def test_scripts_get_json_and_people_a_page(
    client: httpx.AsyncClient, kind: str, headers: dict[str, str], status: int
) -> None:
    answer = await client.post("/v1/subscriptions", **body_of(kind, FORM), headers=headers)
    assert answer.status_code == status
    assert answer.headers["vary"] == VARY
    wrong = await client.post(
        "/v1/subscriptions", **body_of(kind, {**FORM, "email": "no"}), headers=headers
    )
    assert wrong.headers["vary"] == VARY
    if status == 202:
        assert faults(wrong) == ["/email"]
    else:
        assert "no" in html(wrong, 422)


async def test_after_the_form_comes_the_built_in_page(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/subscriptions", data=FORM, headers=BROWSER)
    assert answer.headers["location"] == "/newsletters/insights/thank-you"
    assert "Check your inbox" in html(await client.get(answer.headers["location"]), 200)


async def test_or_the_page_that_the_newsletter_names(
    client: httpx.AsyncClient, newsletter: Make
) -> None:
    await newsletter("other", thank_you_url="https://www.example.org/thanks?from=us")
    form = {**FORM, "newsletter": "other"}
    answer = await client.post("/v1/subscriptions", data=form, headers=BROWSER)
    assert (answer.status_code, answer.content) == (303, b"")
    assert answer.headers["location"] == "https://www.example.org/thanks?from=us"
    page = await client.get("/newsletters/other")
    assert "form-action 'self' https://www.example.org;" in page.headers["content-security-policy"]


async def test_a_wrong_form_comes_back_with_what_was_typed(client: httpx.AsyncClient) -> None:
    typed = {**FORM, "email": 'a"b>', "name": "<script>www.x.org</script>"}
    page = html(await client.post("/v1/subscriptions", data=typed, headers=BROWSER), 422)
    assert 'value="a&#34;b&gt;"' in page
    assert 'value="&lt;script&gt;www.x.org&lt;/script&gt;"' in page
    assert "<script>" not in page
    assert " checked" in page
    for field in ("email", "name"):
        assert f'aria-invalid="true" aria-describedby="{field}-fault"' in page
        assert f'id="{field}-fault"' in page
    assert "consent-fault" not in page


async def test_a_box_that_was_not_ticked_stays_so(client: httpx.AsyncClient) -> None:
    fresh = html(await client.get("/newsletters/insights"), 200)
    form = {"email": "ann@example.org"}
    page = html(await client.post("/v1/subscriptions", data=form, headers=BROWSER), 422)
    assert "checked" not in fresh
    assert "checked" not in page
    assert 'aria-describedby="consent-fault"' in page
    assert 'value="ann@example.org"' in page


async def test_a_tick_for_an_outdated_policy_is_not_kept(
    client: httpx.AsyncClient, policy: Make, clock: Clock
) -> None:
    await policy("2026-02")
    clock.advance(hours=2)
    form = {**FORM, "policy_version": "2026-01"}
    page = html(await client.post("/v1/subscriptions", data=form, headers=BROWSER), 422)
    assert " checked" not in page
    assert 'name="policy_version" value="2026-02"' in page


async def test_the_hosted_form_works_as_it_stands(
    client: httpx.AsyncClient, stored: Stored
) -> None:
    page = html(await client.get("/newsletters/insights"), 200)
    assert "No spam; unsubscribe easily at any time." in page
    assert "<script" not in page
    hidden = dict.fromkeys(("newsletter", "policy_version", "wording"), "")
    for name in hidden:
        hidden[name] = page.split(f'name="{name}" value="')[1].partition('"')[0]
    form = {**FORM, **hidden, "name": "", "website": ""}
    answer = await client.post("/v1/subscriptions", data=form, headers=BROWSER)
    assert answer.status_code == 303
    assert len((await stored())["outbox"]) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"data": {**FORM, "newsletter": "nope"}}, 422),
        ({"content": b"email=%ff", "headers": {"Content-Type": "text/plain"}}, 415),
    ],
)
async def test_what_cannot_be_shown_in_the_form_is_a_page_to_a_browser(
    client: httpx.AsyncClient, body: dict[str, dict[str, str]], status: int
) -> None:
    headers = {**BROWSER, **body.pop("headers", {})}
    answer = await client.post("/v1/subscriptions", **body, headers=headers)  # type: ignore[arg-type]
    assert f"Error {status}" in html(answer, status)


@pytest.fixture
async def two_sites(newsletter: Make) -> None:
    await newsletter("ours", allowed_origins=[OURS])
    await newsletter("theirs", allowed_origins=[THEIRS])


@pytest.mark.usefixtures("two_sites")
async def test_a_preflight_answers_for_every_listed_origin(client: httpx.AsyncClient) -> None:
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    for origin in (OURS, THEIRS):
        answer = await client.options("/v1/subscriptions", headers={"Origin": origin, **asked})
        assert answer.is_success
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["access-control-allow-methods"] == "POST"
        assert "content-type" in answer.headers["access-control-allow-headers"].lower()
        assert "access-control-allow-credentials" not in answer.headers
        assert "Origin" in answer.headers["vary"]
    for stranger in ("https://evil.example", "null", OURS.upper(), OURS + ".evil.example"):
        answer = await client.options("/v1/subscriptions", headers={"Origin": stranger, **asked})
        assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.usefixtures("two_sites")
@pytest.mark.parametrize(
    ("origin", "reader"),
    [(OURS, OURS), (THEIRS, None), ("https://evil.example", None), ("null", None)],
)
async def test_an_origin_decides_who_may_read_and_never_who_may_post(
    client: httpx.AsyncClient, stored: Stored, origin: str, reader: str | None
) -> None:
    body = {"email": "ann@example.org", "consent": True, "newsletter": "ours"}
    good = await client.post("/v1/subscriptions", json=body, headers={"Origin": origin})
    bad = await client.post(
        "/v1/subscriptions", json={**body, "email": "no"}, headers={"Origin": origin}
    )
    assert good.status_code == 202
    assert faults(bad) == ["/email"]
    for answer in (good, bad):
        assert answer.headers.get("access-control-allow-origin") == reader
        assert "access-control-allow-credentials" not in answer.headers
        assert answer.headers["vary"] == VARY
    assert len((await stored())["subscriptions"]) == 1


@pytest.mark.usefixtures("two_sites")
async def test_the_form_description_may_be_read_by_its_own_sites(client: httpx.AsyncClient) -> None:
    read = [
        (await client.get("/v1/newsletters/ours/form", headers={"Origin": origin})).headers
        for origin in (OURS, THEIRS)
    ]
    assert [headers.get("access-control-allow-origin") for headers in read] == [OURS, None]
    assert {headers["vary"] for headers in read} == {"Origin"}


async def test_a_script_that_names_no_newsletter_reads_a_problem(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/subscriptions",
        content=b"{",
        headers={"Content-Type": "application/json", "Accept": "text/html"},
    )
    problem(answer, 400, "unreadable")
