"""Confirming and leaving: GET changes nothing, POST acts, and only our own tokens work."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy.engine import Connection

from app.db import tables
from app.db.engine import Engine
from app.main import create_app
from app.services.house import House
from app.settings import Settings
from app.tokens import Purpose, Tokens, pack
from tests.conftest import BASE_URL, SECRET, Clock, SignUp
from tests.web.answers import html, on_sqlite
from tests.web.conftest import Paths, Stored

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]

Rows = Callable[..., Awaitable[list[dict[str, Any]]]]

CSP = {
    "default-src 'none'",
    "style-src 'self'",
    "img-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
}


@pytest.fixture
async def links(sign_up: SignUp, paths: Paths) -> dict[str, str]:
    """The links of somebody who has signed up."""
    await sign_up(name="Ann", locale="en-GB")
    return await paths()


async def test_looking_changes_nothing(
    client: httpx.AsyncClient, links: dict[str, str], stored: Stored, clock: Clock
) -> None:
    before = await stored()
    for path in links.values():
        shown = await client.get(path)
        assert f'action="{path}"' in html(shown, 200)
        assert "<script" not in shown.text
        head = await client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers == shown.headers
    clock.advance(days=8)
    assert (await client.get(links["confirm"])).status_code == 410
    assert (await client.head(links["confirm"])).status_code == 410
    assert await stored() == before


async def test_confirming_twice_is_confirming_once(
    client: httpx.AsyncClient, links: dict[str, str], stored: Stored, clock: Clock
) -> None:
    assert "You are subscribed" in html(await client.post(links["confirm"]), 200)
    after = await stored()
    [subscription] = after["subscriptions"]
    assert (subscription["status"], subscription["confirmed_at"]) == ("confirmed", clock.now)
    [subscriber] = after["subscribers"]
    assert (subscriber["name"], subscriber["locale"]) == ("Ann", "en-GB")
    assert [row["kind"] for row in after["outbox"]] == ["confirm", "welcome"]
    assert "already" in html(await client.post(links["confirm"]), 200)
    assert "already" in html(await client.get(links["confirm"]), 200)
    clock.advance(days=100)
    assert "already" in html(await client.post(links["confirm"]), 200)
    assert await stored() == after


async def test_an_expired_link_confirms_nothing(
    client: httpx.AsyncClient, links: dict[str, str], stored: Stored, clock: Clock
) -> None:
    clock.advance(days=7, seconds=-2)
    assert (await client.get(links["confirm"])).status_code == 200
    clock.advance(seconds=2)
    before = await stored()
    for page in (await client.get(links["confirm"]), await client.post(links["confirm"])):
        assert "too old" in html(page, 410)
        assert "/newsletters/insights" in page.text
    assert await stored() == before


async def test_an_old_link_does_not_bring_back_who_has_left(
    client: httpx.AsyncClient,
    links: dict[str, str],
    sign_up: SignUp,
    paths: Paths,
    stored: Stored,
    clock: Clock,
) -> None:
    await client.post(links["confirm"])
    await client.post(links["unsubscribe"])
    before = await stored()
    for page in (await client.get(links["confirm"]), await client.post(links["confirm"])):
        assert "left this newsletter" in html(page, 410)
    assert await stored() == before
    clock.advance(hours=1)
    await sign_up()
    assert (await client.post(links["confirm"])).status_code == 410
    assert (await client.post((await paths())["confirm"])).status_code == 200


async def test_leaving_while_pending_voids_the_link(
    client: httpx.AsyncClient, links: dict[str, str]
) -> None:
    assert (await client.post(links["unsubscribe"])).status_code == 200
    assert (await client.post(links["confirm"])).status_code == 410


async def test_a_link_to_what_is_gone_is_expired(
    client: httpx.AsyncClient, links: dict[str, str], engine: Engine
) -> None:
    await engine.write(_purge)
    for page in (await client.get(links["confirm"]), await client.post(links["confirm"])):
        html(page, 410)


def _purge(connection: Connection) -> None:
    connection.execute(tables.subscriptions.delete())
    connection.execute(tables.subscribers.delete())


@pytest.mark.parametrize("kind", ["confirm", "unsubscribe"])
async def test_a_token_that_is_not_ours_is_a_404_that_says_what_to_do(
    client: httpx.AsyncClient,
    links: dict[str, str],
    stored: Stored,
    house: House,
    clock: Clock,
    kind: str,
) -> None:
    other = next(path for name, path in links.items() if name != kind).rpartition("/")[2]
    good = links[kind].rpartition("/")[2]
    value, at, signature = good.split(".")
    purpose = Purpose(kind)
    strangers = Tokens(("b" * 40,)).sign(purpose, pack(uuid4(), 1, 1), clock.now)
    odd_payload = house.tokens.sign(purpose, b"short", clock.now)
    from_the_future = house.tokens.sign(purpose, pack(uuid4(), 1, 1), clock.now + timedelta(days=2))
    swapped = signature.swapcase()
    bad = {
        "forged": strangers,
        "swapped purpose": other,
        "odd payload": odd_payload,
        "from the future": from_the_future,
        "truncated": good[:-1],
        "without signature": f"{value}.{at}",
        "value alone": value,
        "another signature": f"{value}.{at}.{swapped}",
        "another time": f"{value}.AAAAAA.{signature}",
        "longer": good + "A",
        "over-long": "A" * 5_000,
        "dots": "....",
        "one sign": "x",
        "space": "%20",
        "NUL": "%00",
        "non-ASCII": "t%C3%B6ken",
        "invalid UTF-8": "%ff%fe",
        "surrogate": "%ED%A0%80",
        "a slash": f"{good[:9]}/{good[9:]}",
        "empty": "",
    }
    before = await stored()
    for name, token in bad.items():
        for method in ("GET", "POST"):
            page = await client.request(method, f"/{kind}/{token}")
            assert page.status_code == 404, (name, method)
            assert "Copy the whole link" in html(page, 404) or name in {"a slash", "empty"}
            assert page.headers["x-robots-tag"] == "noindex"
            assert page.headers["referrer-policy"] == "no-referrer"
    assert await stored() == before


@pytest.fixture
async def rotated(settings: Settings, house: House) -> AsyncIterator[httpx.AsyncClient]:
    """The service after a new key came in front of the old one."""
    newer = replace(house, tokens=Tokens(("the-newest-key-0123456789-abcdefghij", SECRET)))
    app = create_app(settings, house=newer)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
            yield client


@on_sqlite
async def test_a_token_of_an_old_key_still_works(
    rotated: httpx.AsyncClient, links: dict[str, str], rows: Rows
) -> None:
    for path in links.values():
        assert (await rotated.get(path)).status_code == 200
        assert (await rotated.post(path)).status_code == 200
    [subscription] = await rows(tables.subscriptions)
    assert (subscription["status"], subscription["generation"]) == ("unsubscribed", 1)


@on_sqlite
async def test_pages_with_a_secret_in_their_address_keep_it(
    client: httpx.AsyncClient, links: dict[str, str], clock: Clock
) -> None:
    answers = [await client.request(m, p) for p in links.values() for m in ("GET", "HEAD", "POST")]
    answers.append(await client.get(links["confirm"]))
    clock.advance(days=8)
    answers += [await client.get("/confirm/x"), await client.post("/unsubscribe/x")]
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-robots-tag"] == "noindex"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        policy = answer.headers["content-security-policy"]
        assert {directive.strip() for directive in policy.split(";")} == CSP
        assert "http://" not in answer.text.replace(BASE_URL, "")
        assert "https://" not in answer.text
