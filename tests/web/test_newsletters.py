import hashlib
from typing import Any

import httpx
import pytest

from tests.conftest import Clock, Make, SignUp
from tests.web.answers import MARK, as_json, faults, html, problem
from tests.web.conftest import Stored

pytestmark = [pytest.mark.anyio]

LEAST = {"slug": "weekly", "name": "Weekly", "from_address": "Letters@example.org"}
MOST: dict[str, Any] = {
    **LEAST,
    "from_name": "The editors",
    "reply_to": "editors@bücher.example",
    "pitch": "One letter\na week.",
    "promise": "Leave when you like.",
    "consent_text": "Yes, send me the Weekly.",
    "postal_address": "1 Road\nTown",
    "allowed_origins": ["https://www.example.org", "http://localhost:3000"],
    "thank_you_url": "https://www.example.org/thanks?x=1",
    "confirmed_url": "https://www.example.org/welcome",
    "welcome": True,
    "archive": True,
    "reminder": True,
    "locale": "de-AT",
    "default": True,
}
MADE = {"wording", "created_at", "updated_at"}


@pytest.fixture(autouse=True)
def _as_admin(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    client.headers.update(admin)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def test_a_newsletter_is_created_read_and_listed(client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/newsletters", json=MOST)
    assert (made.status_code, made.headers["location"]) == (201, "/v1/newsletters/weekly")
    shown = made.json()
    assert set(shown) == {*MOST, *MADE}
    assert {name: shown[name] for name in MOST} == {**MOST, "from_address": "Letters@example.org"}
    assert shown["wording"] == sha256(MOST["consent_text"])
    assert (await client.get("/v1/newsletters/weekly")).json() == shown
    await client.post("/v1/newsletters", json={**LEAST, "slug": "another"})
    items = (await client.get("/v1/newsletters")).json()["items"]
    assert [item["slug"] for item in items] == ["another", "weekly"]


async def test_three_values_are_enough(client: httpx.AsyncClient) -> None:
    shown = (await client.post("/v1/newsletters", json=LEAST)).json()
    assert shown["promise"] == "No spam; unsubscribe easily at any time."
    assert shown["consent_text"] == "Yes, please send me “Weekly” by e-mail."
    off = ("welcome", "archive", "reminder", "default")
    assert [shown[name] for name in off] == [False] * len(off)
    for missing in LEAST:
        body = {name: value for name, value in LEAST.items() if name != missing}
        assert faults(await client.post("/v1/newsletters", json=body)) == [f"/{missing}"]


async def test_a_slug_is_taken_once(client: httpx.AsyncClient, stored: Stored) -> None:
    await client.post("/v1/newsletters", json=LEAST)
    before = await stored()
    problem(await client.post("/v1/newsletters", json={**LEAST, "name": "X"}), 409, "conflict")
    assert await stored() == before


async def test_there_is_one_default(client: httpx.AsyncClient, newsletter: Make) -> None:
    await newsletter("a", is_default=True)
    await client.post("/v1/newsletters", json={**LEAST, "slug": "b", "default": True})
    await client.patch("/v1/newsletters/a", json={"default": True})
    await client.patch("/v1/newsletters/a", json={"default": True, "pitch": "Same."})
    items = (await client.get("/v1/newsletters")).json()["items"]
    assert {item["slug"]: item["default"] for item in items} == {"a": True, "b": False}


INJECTED = [
    f"{MARK}\r\nBcc: x@example.org",
    f"{MARK}=?utf-8?q?hi=0d=0aBcc:_x@y.org?=",
    f"{MARK}\x00",
]
BAD_TEXT = [f"{MARK}\x00", f"{MARK}\u202e", "\ud800", "x" * 2_001, 5]
BAD_ORIGINS = [
    *("*", "null", "", 5),
    "https://www.example.org/",
    "https://www.example.org/path",
    "https://*.example.org",
    "https://user@example.org",
    "javascript:alert(1)",
    "HTTPS://www.example.org",
    "https://www.example.org\r\nX: y",
]
BAD_URLS = [
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "data:text/html,x",
    "/thanks",
    "//evil.example",
    "https://",
    "https://user@example.org",
    "https://example.org/a b",
    "https://example.org/\r\nX: y",
    'https://example.org/"><script>',
    "https://example.org;script-src/*",
    "https://例え.example/",
    "https://[",
    "https://example.org/" + "x" * 2_048,
    5,
]
BY_FIELD: dict[str, list[Any]] = {
    "name": [*INJECTED, "", "  ", "x" * 101, None, 5, f"{MARK}\u2028"],
    "from_name": [*INJECTED, "x" * 101, 5],
    "from_address": [*INJECTED, "", "no", "A <a@b.org>", None, ["a@b.org"]],
    "reply_to": [*INJECTED, "", "no", "a@b.org, c@d.org", 5],
    "pitch": [*BAD_TEXT, None],
    "promise": [*BAD_TEXT, None],
    "postal_address": BAD_TEXT,
    "consent_text": [*BAD_TEXT, "", "   ", None],
    "allowed_origins": [
        *([origin] for origin in BAD_ORIGINS),
        "https://www.example.org",
        {"0": "https://www.example.org"},
        ["https://www.example.org"] * 51,
        None,
    ],
    "thank_you_url": BAD_URLS,
    "confirmed_url": BAD_URLS,
    "welcome": ["true", 1, None],
    "archive": ["yes", []],
    "reminder": ["yes", []],
    "default": [0, ""],
    "locale": ["", "en_US", "english please", None, 5],
    **{name: ["x"] for name in ("wording", "created_at", "is_default", "revision", "constructor")},
}
BAD = [(field, value) for field, values in BY_FIELD.items() for value in values]


async def test_every_bad_value_is_refused_at_creation_and_at_change(
    client: httpx.AsyncClient, newsletter: Make, stored: Stored
) -> None:
    await newsletter("there")
    before = await stored()
    for name, bad in BAD:
        for answer in (
            await client.post("/v1/newsletters", **as_json({**LEAST, name: bad})),
            await client.patch("/v1/newsletters/there", **as_json({name: bad})),
        ):
            pointers = {pointer.split("/")[1] for pointer in faults(answer)}
            assert pointers == {name}, (name, bad)
    assert await stored() == before


async def test_a_slug_is_fit_for_a_url(client: httpx.AsyncClient) -> None:
    bad = ["", "Weekly", "a b", "a/b", "-a", "a-", "a--b", "ä", "a\x00", "a_b", "x" * 64, 5, None]
    for slug in bad:
        answer = await client.post("/v1/newsletters", json={**LEAST, "slug": slug})
        assert faults(answer) == ["/slug"], slug


async def test_a_change_touches_only_what_was_sent(client: httpx.AsyncClient, clock: Clock) -> None:
    before = (await client.post("/v1/newsletters", json=MOST)).json()
    clock.advance(hours=1)
    answer = await client.patch("/v1/newsletters/weekly", json={"pitch": "New.", "reply_to": None})
    after = answer.json()
    assert after.pop("updated_at") > before.pop("updated_at")
    assert after == {**before, "pitch": "New.", "reply_to": None}
    assert faults(await client.patch("/v1/newsletters/weekly", json={})) == [""]
    assert faults(await client.patch("/v1/newsletters/weekly", json={"slug": "x"})) == ["/slug"]
    for method in ("GET", "PATCH"):
        for slug in ("nope", "Weekly", "%00", "%ff", "a" * 5_000, "'--"):
            answer = await client.request(method, f"/v1/newsletters/{slug}", json={"pitch": "x"})
            problem(answer, 404, "not-found")


@pytest.mark.usefixtures("open_house")
async def test_a_new_consent_text_is_a_new_wording_and_the_old_form_still_works(
    client: httpx.AsyncClient, sign_up: SignUp, stored: Stored
) -> None:
    old = (await client.get("/v1/newsletters/insights")).json()
    new = "I would like the Insights, please."
    changed = await client.patch("/v1/newsletters/insights", json={"consent_text": new})
    assert changed.json()["wording"] == sha256(new)
    described = (await client.get("/v1/newsletters/insights/form")).json()
    assert (described["consent_text"], described["wording"]) == (new, sha256(new))
    assert new in html(await client.get("/newsletters/insights"), 200)
    assert (await sign_up("ann@example.org", wording=old["wording"])).status_code == 202
    assert (await sign_up("bob@example.org", wording=sha256(new))).status_code == 202
    assert (await sign_up("cat@example.org")).status_code == 202
    after = await stored()
    shown = [event["wording"] for event in after["consent_events"]]
    assert shown == [old["wording"], sha256(new), sha256(new)]
    assert {w["hash"]: w["text"] for w in after["wordings"]} == {
        old["wording"]: old["consent_text"],
        sha256(new): new,
    }
    back = await client.patch(
        "/v1/newsletters/insights", json={"consent_text": old["consent_text"]}
    )
    assert back.json()["wording"] == old["wording"]
    assert len((await stored())["wordings"]) == 2


async def test_a_wording_belongs_to_its_newsletter(
    sign_up: SignUp, newsletter: Make, policy: Make
) -> None:
    await policy()
    await newsletter("a", consent_text="Yes to A.")
    await newsletter("b", consent_text="Yes to B.")
    answer = await sign_up(newsletter="a", wording=sha256("Yes to B."))
    assert faults(answer) == ["/wording"]


BODIES = [
    (b"", "application/json", 400),
    (b'{"name": ', "application/json", 400),
    (b"[" * 100_000, "application/json", 400),
    (b'{"name": NaN}', "application/json", 400),
    (b'{"name": ' + b"9" * 5_000 + b"}", "application/json", 400),
    (b'{"name": "\xff"}', "application/json", 400),
    (b"\xef\xbb\xbf{}", "application/json", 400),
    (b"{}", "application/json; charset=utf-16", 400),
    (b"{}", "", 415),
    (b"{}", "text/plain", 415),
    (b"name=x", "application/x-www-form-urlencoded", 415),
    (b"--b--", "multipart/form-data; boundary=b", 415),
    (b" " * 2**20 + b"{}", "application/json", 413),
    (b"[]", "application/json", 422),
    (b"null", "application/json", 422),
    (b'{"name": "a", "name": "b"}', "application/json", 422),
    (b'{"\\ud800": 1}', "application/json", 422),
    (b'{"allowed_origins": {"a": 1, "a": 2}}', "application/json", 422),
]


@pytest.mark.parametrize(
    "call",
    [("POST", "/v1/newsletters"), ("PATCH", "/v1/newsletters/there"), ("POST", "/v1/policies")],
)
async def test_a_bad_body_is_refused_for_what_it_is(
    client: httpx.AsyncClient, newsletter: Make, stored: Stored, call: tuple[str, str]
) -> None:
    names = {400: "unreadable", 413: "too-large", 415: "unsupported-media-type", 422: "invalid"}
    await newsletter("there")
    before = await stored()
    for content, kind, status in BODIES:
        headers = {"Content-Type": kind} if kind else {}
        answer = await client.request(*call, content=content, headers=headers)
        problem(answer, status, names[status])
    assert await stored() == before
