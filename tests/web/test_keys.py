from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.db import tables
from app.db.engine import Engine
from app.services import keys
from app.services.keys import Scope
from tests.conftest import Clock, Make, SignUp
from tests.web.answers import problem
from tests.web.conftest import Key

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]

Rows = Callable[..., Awaitable[list[dict[str, Any]]]]

READ, WRITE = Scope.SUBSCRIBERS_READ, Scope.NEWSLETTERS_WRITE
CHANGE, SEND = Scope.SUBSCRIBERS_WRITE, Scope.ISSUES_SEND
NEW = {"slug": "third", "name": "Third", "from_address": "a@example.org"}
POLICY = {"version": "9", "url": "https://example.org/p", "text": "A text."}
CALLS: list[tuple[tuple[str, str, dict[str, str] | None], Scope | None]] = [
    (("GET", "/v1/subscribers", None), READ),
    (("GET", "/v1/subscribers/ann@example.org", None), READ),
    (("GET", "/v1/subscribers/ann@example.org/consent", None), READ),
    (("GET", "/v1/newsletters", None), None),
    (("GET", "/v1/newsletters/insights", None), None),
    (("POST", "/v1/newsletters", NEW), WRITE),
    (("PATCH", "/v1/newsletters/insights", {"name": "New"}), WRITE),
    (("GET", "/v1/policies", None), None),
    (("GET", "/v1/policies/2026-01", None), None),
    (("POST", "/v1/policies", POLICY), WRITE),
    (("GET", "/v1/outbox", None), READ),
    (("POST", "/v1/outbox/1/retry", None), SEND),
    (("POST", "/v1/outbox/resume", None), SEND),
    (("GET", "/v1/suppressions", None), READ),
    (("POST", "/v1/suppressions", {"email": "bob@example.org"}), CHANGE),
    (("DELETE", "/v1/suppressions/bob@example.org", None), CHANGE),
]


async def test_no_admin_call_works_without_a_valid_key(
    client: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    for (method, path, body), _ in CALLS:
        answers = [await client.request(method, path, json=body)]
        for presented in _invalid(admin["Authorization"].removeprefix("Bearer ")):
            headers = httpx.Headers({"Authorization": presented}, encoding="latin-1")
            answers.append(await client.request(method, path, json=body, headers=headers))
        for answer in answers:
            problem(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"].startswith("Bearer")


def _invalid(good: str) -> list[str]:
    return [
        "",
        "Bearer",
        "Bearer  ",
        "Bearer x",
        good,
        f"Basic {good}",
        f"Bearer {good}x",
        f"Bearer {good[:-1]}",
        f"Bearer {good} {good}",
        f"Bearer {good.upper()}",
        "Bearer nl_0123456789_" + "A" * 43,
        "Bearer nl__",
        "Bearer nl_\u00e9_\u00ff",
        f"Bearer nl_{'A' * 5_000}_x",
        "Bearer nl_%00_x",
        "Bearer nl_'--_x",
    ]


async def test_a_key_may_do_what_its_scope_says_and_no_more(
    client: httpx.AsyncClient, sign_up: SignUp, key: Key, engine: Engine
) -> None:
    await sign_up()
    hold = tables.outbox.update().values(state="held")
    await engine.write(lambda c: c.execute(hold).rowcount)
    for (method, path, body), scope in CALLS:
        others = [other for other in Scope if other not in {scope, Scope.ADMIN}]
        answer = await client.request(method, path, json=body, headers=await key(*others))
        if scope is not None:
            assert scope in problem(answer, 403, "forbidden")["detail"]
            answer = await client.request(method, path, json=body, headers=await key(scope))
        assert answer.status_code in {200, 201, 204}


async def test_a_key_ends_at_its_time_or_when_it_is_revoked(
    client: httpx.AsyncClient, key: Key, engine: Engine, clock: Clock
) -> None:
    expiring = await key(READ, expires_at=clock.now + timedelta(hours=1))
    revoked = await key(READ)
    for headers in (expiring, revoked):
        assert (await client.get("/v1/subscribers", headers=headers)).status_code == 200
    await engine.write(keys.revoke, revoked["Authorization"].split("_")[1], clock.now)
    problem(await client.get("/v1/subscribers", headers=revoked), 401, "unauthenticated")
    clock.advance(minutes=59)
    assert (await client.get("/v1/subscribers", headers=expiring)).status_code == 200
    clock.advance(minutes=1)
    problem(await client.get("/v1/subscribers", headers=expiring), 401, "unauthenticated")


async def test_when_a_key_was_last_used_is_kept_to_the_minute(
    client: httpx.AsyncClient, key: Key, rows: Rows, clock: Clock
) -> None:
    headers = await key(READ)
    used = []
    for seconds in (0, 59, 1):
        clock.advance(seconds=seconds)
        await client.get("/v1/subscribers", headers=headers)
        used.append((await rows(tables.api_keys))[0]["last_used_at"])
    start = clock.now - timedelta(minutes=1)
    assert used == [start, start, clock.now]


async def test_only_a_hash_of_a_key_is_stored(key: Key, rows: Rows) -> None:
    secret = (await key(READ))["Authorization"].rpartition("_")[2]
    assert secret not in str(await rows(tables.api_keys))


async def test_a_key_of_one_newsletter_sees_and_changes_nothing_of_another(
    client: httpx.AsyncClient, sign_up: SignUp, newsletter: Make, key: Key
) -> None:
    await newsletter("other")
    await sign_up("ann@example.org")
    await sign_up("ann@example.org", newsletter="other")
    await sign_up("bob@example.org", newsletter="other")
    headers = await key(READ, WRITE, newsletter="insights")
    client.headers.update(headers)
    for query in ({}, {"newsletter": "insights"}, {"newsletter": "insights", "count": "true"}):
        listed = (await client.get("/v1/subscribers", params=query)).json()
        assert [item["email"] for item in listed["items"]] == ["ann@example.org"]
        assert [s["newsletter"] for s in listed["items"][0]["subscriptions"]] == ["insights"]
        assert listed.get("total", 1) == 1
    problem(await client.get("/v1/subscribers?newsletter=other"), 403, "forbidden")
    one = (await client.get("/v1/subscribers/ann@example.org")).json()
    assert [s["newsletter"] for s in one["subscriptions"]] == ["insights"]
    proof = (await client.get("/v1/subscribers/ann@example.org/consent")).json()
    assert {event["newsletter"] for event in proof["events"]} == {"insights"}
    assert {wording["newsletter"] for wording in proof["wordings"]} == {"insights"}
    assert proof["subscriber"] == one
    assert proof["verified"] is True
    for path in ("", "/consent"):
        answer = await client.get(f"/v1/subscribers/bob@example.org{path}")
        problem(answer, 404, "not-found")
    slugs = [n["slug"] for n in (await client.get("/v1/newsletters")).json()["items"]]
    assert slugs == ["insights"]
    problem(await client.get("/v1/newsletters/other"), 403, "forbidden")
    problem(await client.patch("/v1/newsletters/other", json={"name": "X"}), 403, "forbidden")
    problem(await client.post("/v1/newsletters", json=NEW), 403, "forbidden")
    problem(await client.post("/v1/policies", json=POLICY), 403, "forbidden")
    default = {"default": True}
    problem(await client.patch("/v1/newsletters/insights", json=default), 403, "forbidden")
    assert (await client.patch("/v1/newsletters/insights", json={"name": "X"})).status_code == 200
