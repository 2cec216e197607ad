"""The script that other people's pages load: true, safe, small, and asked for again in time."""

import gzip
import json
from typing import Any

import httpx
import pytest

from app.languages.catalogs import LANGUAGES
from tests.conftest import BASE_URL, Make
from tests.web.answers import html, on_sqlite

pytestmark = [pytest.mark.anyio, on_sqlite]
furnished = pytest.mark.usefixtures("open_house")

SCRIPT = "/newsletters/insights/form.js"
HOSTILE = "</script><!--\u2028\u2029\"'\\ & ${x} `y` Ünïcode__NEWSLETTER__"


def data_of(script: str) -> dict[str, Any]:
    """Return what the service wrote into the script."""
    found: dict[str, Any] = json.loads(script.rpartition("\n})(")[2].removesuffix(");\n"))
    return found


@furnished
async def test_any_page_may_load_the_script(client: httpx.AsyncClient) -> None:
    answer = await client.get(SCRIPT, headers={"Origin": "https://stranger.example"})
    assert answer.status_code == 200
    expected = {
        "content-type": "text/javascript; charset=utf-8",
        "cache-control": "public, max-age=300, must-revalidate",
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "cross-origin",
        "content-language": "en",
        "vary": "Accept-Language",
    }
    assert {name: answer.headers[name] for name in expected} == expected
    assert "set-cookie" not in answer.headers


@furnished
async def test_it_shows_what_everybody_else_is_told_to_show(client: httpx.AsyncClient) -> None:
    told = (await client.get("/v1/newsletters/insights/form")).json()
    data = data_of((await client.get(SCRIPT)).text)
    del told["fields"]
    assert {name: data[name] for name in told} == told
    assert data["form"] == f"{BASE_URL}/v1/newsletters/insights/form"
    assert (await client.get(data["page"])).status_code == 200


async def test_no_text_ends_the_script_or_leaves_its_string(
    client: httpx.AsyncClient, newsletter: Make, policy: Make
) -> None:
    texts = {"name": HOSTILE, "pitch": HOSTILE, "promise": HOSTILE, "consent_text": HOSTILE}
    await newsletter(**texts)
    await policy()
    body = (await client.get(SCRIPT)).text
    data = data_of(body)
    assert {name: data[name] for name in texts} == texts
    assert data["texts"]["title"] == f"Sign up for {HOSTILE}"
    written = body.rpartition("\n})(")[2]
    assert "<" not in written
    assert body.isascii()


@furnished
async def test_what_a_browser_has_is_not_sent_again_until_it_changes(
    client: httpx.AsyncClient, admin: dict[str, str], policy: Make
) -> None:
    first = (await client.get(SCRIPT)).headers["etag"]
    for header in (first, f'W/{first}, "other"', "*"):
        again = await client.get(SCRIPT, headers={"If-None-Match": header})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first
        assert "max-age" in again.headers["cache-control"]
    await client.patch("/v1/newsletters/insights", json={"pitch": "New."}, headers=admin)
    second = await client.get(SCRIPT, headers={"If-None-Match": first})
    await policy("2026-02")
    third = await client.get(SCRIPT, headers={"If-None-Match": second.headers["etag"]})
    assert [data_of(a.text)["policy_version"] for a in (second, third)] == ["2026-01", "2026-02"]


@furnished
@pytest.mark.parametrize("code", LANGUAGES)
async def test_it_is_small_in_every_language(client: httpx.AsyncClient, code: str) -> None:
    answer = await client.get(SCRIPT, params={"lang": code})
    assert len(gzip.compress(answer.content)) < 10 * 1024
    data = data_of(answer.text)
    assert (data["language"], data["direction"]) == (code, LANGUAGES[code].direction)
    assert all(text and "%(" not in text for text in data["texts"].values())
    assert bool(data["faults"]) is (code != "en")


async def test_the_page_decides_the_language_then_the_browser_then_the_newsletter(
    client: httpx.AsyncClient, newsletter: Make, policy: Make
) -> None:
    await newsletter(locale="de")
    await policy()
    browser = {"Accept-Language": "fr"}
    asked = [
        (f"{SCRIPT}?lang=es-MX", browser),
        (SCRIPT, browser),
        (SCRIPT, {}),
        (f"{SCRIPT}?lang=x", {}),
    ]
    languages = [(await client.get(path, headers=headers)).headers for path, headers in asked]
    assert [headers["content-language"] for headers in languages] == ["es", "fr", "de", "de"]


async def test_there_is_no_form_before_there_is_a_policy_or_a_newsletter(
    client: httpx.AsyncClient, newsletter: Make
) -> None:
    await newsletter()
    assert "Not open yet" in html(await client.get(SCRIPT), 503)
    html(await client.get("/newsletters/nope/form.js"), 404)


async def test_the_script_names_nobody_else_and_keeps_no_cookie(client: httpx.AsyncClient) -> None:
    source = (await client.get("/static/form.js")).text
    assert "://" not in source
    assert ".cookie" not in source
    assert "innerHTML" not in source
    assert source.isascii()
