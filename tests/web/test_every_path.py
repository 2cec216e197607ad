"""What holds everywhere: HEAD like GET, 404 and 405 in the right shape, security headers."""

from itertools import product

import httpx
import pytest

from tests.conftest import SignUp
from tests.web.answers import html, on_sqlite, problem
from tests.web.conftest import Paths, Stored

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house"), on_sqlite]

GETS = [
    "/",
    "/newsletters/insights",
    "/newsletters/insights/thank-you",
    "/newsletters/insights/form.js",
    "/newsletters/nope",
    "/newsletters/nope/form.js",
    "/privacy",
    "/confirm/x",
    "/unsubscribe/x",
    "/static/style.css",
    "/static/nope.css",
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/v1/challenge",
    "/v1/newsletters/insights/form",
    "/v1/newsletters",
    "/v1/newsletters/insights",
    "/v1/policies",
    "/v1/policies/2026-01",
    "/v1/policies/nope",
    "/v1/subscribers",
    "/v1/subscribers?limit=0",
    "/v1/subscribers/ann@example.org",
    "/v1/subscribers/ann@example.org/consent",
    "/v1/outbox",
    "/v1/outbox?state=held",
    "/v1/outbox?state=nope",
    "/v1/suppressions",
    "/v1/nope",
    "/nope",
]


async def test_head_is_answered_as_get_without_the_body(
    client: httpx.AsyncClient, admin: dict[str, str], sign_up: SignUp
) -> None:
    await sign_up()
    for path, headers in product(GETS, (admin, {})):
        got = await client.get(path, headers=headers)
        head = await client.head(path, headers=headers)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers == got.headers
        for name in ("content-security-policy", "x-content-type-options", "x-frame-options"):
            assert name in got.headers
        assert got.headers["referrer-policy"] == "no-referrer"
        assert "server" not in got.headers


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "/v1/nope",
        "/v1/nope/%00",
        "/v1/subscriptions/",
        "/v1/subscriptions/x",
        "/metrics",
    ],
)
async def test_what_is_not_there_is_a_problem_to_machines(
    client: httpx.AsyncClient, path: str
) -> None:
    for method in ("GET", "POST", "DELETE"):
        problem(await client.request(method, path), 404, "not-found")


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/v2/subscribers",
        "/newsletters/nope",
        "/newsletters/%00",
        "/newsletters/x/y",
        "/static/nope.css",
        "/static/../main.py",
        "/static/%2e%2e/%2e%2e/main.py",
        "/static/%00",
        "/newsletters/insights/",
        "/confirm",
        "/unsubscribe",
        "/dev/mail",
        "/.env",
        "/%ff",
    ],
)
async def test_and_a_page_to_people(client: httpx.AsyncClient, path: str) -> None:
    page = html(await client.get(path), 404)
    assert "Error 404" in page
    assert 'href="/"' in page


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/subscriptions", "POST, OPTIONS"),
        ("/v1/subscribers", "GET, HEAD"),
        ("/v1/subscribers/x", "GET, HEAD"),
        ("/v1/challenge", "GET, HEAD"),
        ("/v1/newsletters", "GET, POST, HEAD"),
        ("/v1/newsletters/insights", "GET, PATCH, HEAD"),
        ("/v1/policies", "GET, POST, HEAD"),
        ("/v1/feedback/ses", "POST"),
        ("/v1/outbox", "GET, HEAD"),
        ("/v1/outbox/1/retry", "POST"),
        ("/v1/outbox/resume", "POST"),
        ("/v1/suppressions", "GET, POST, HEAD"),
        ("/v1/suppressions/x", "DELETE"),
        ("/healthz", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
        ("/", "GET, HEAD"),
        ("/newsletters/insights", "GET, HEAD"),
        ("/newsletters/insights/form.js", "GET, HEAD"),
        ("/confirm/x", "GET, POST, HEAD"),
        ("/unsubscribe/x", "GET, POST, HEAD"),
        ("/static/style.css", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_taken_is_told_which_are(
    client: httpx.AsyncClient, path: str, allowed: str
) -> None:
    taken = {method.strip() for method in allowed.split(",")}
    methods = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"}
    for method in methods - taken:
        answer = await client.request(method, path)
        assert answer.headers["allow"] == allowed, method
        if method == "HEAD":
            assert (answer.status_code, answer.content) == (405, b"")
        elif path.startswith(("/v1", "/healthz", "/openapi")):
            problem(answer, 405, "method-not-allowed")
        else:
            assert "Error 405" in html(answer, 405)


async def test_nothing_but_a_post_with_a_token_changes_anything(
    client: httpx.AsyncClient, sign_up: SignUp, paths: Paths, stored: Stored
) -> None:
    await sign_up()
    before = await stored()
    for path in (*GETS, *(await paths()).values()):
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
            await client.request(method, path)
    assert await stored() == before


async def test_static_files_are_typed_and_do_not_leave_their_folder(
    client: httpx.AsyncClient,
) -> None:
    style = await client.get("/static/style.css")
    assert style.headers["content-type"].startswith("text/css")
    assert "://" not in style.text
    assert (await client.get("/static/")).status_code == 404
