import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from app.db import suppressions, tables
from app.db.engine import Engine
from app.domain.subscription import BLOCKING, Reason
from app.services.house import House
from app.services.keys import Scope
from tests.conftest import BASE_URL, Clock, DeliverAll, SignUp
from tests.web.answers import MARK, as_json, faults, on_sqlite, problem
from tests.web.conftest import Insert, Key, Stored
from tests.web.people import Person

pytestmark = [pytest.mark.anyio]

URL = "/v1/suppressions"
ANN = "ann@example.org"

Rows = Callable[..., Awaitable[list[dict[str, Any]]]]


@pytest.fixture(autouse=True)
def _as_admin(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    client.headers.update(admin)


async def listed(client: httpx.AsyncClient, **params: str) -> list[tuple[str, str]]:
    answer = await client.get(URL, params=params)
    assert answer.status_code == 200, answer.text
    return [(item["id"], item["reason"]) for item in answer.json()["items"]]


Add = Callable[..., Awaitable[str]]


@pytest.fixture
def add(engine: Engine, house: House) -> Add:
    """Suppress an address by SQL: `await add("ann@example.org", Reason.ERASED)`."""

    async def run(key: str, *reasons: Reason, minutes: float = 0) -> str:
        hashed = house.address_hash(key)
        at = house.clock() - timedelta(minutes=minutes)
        await engine.write(suppressions.add, [(hashed, reason) for reason in reasons], at)
        return hashed

    return run


async def test_an_address_is_suppressed_once_for_each_reason(
    client: httpx.AsyncClient, house: House, clock: Clock
) -> None:
    at = clock.now.isoformat().replace("+00:00", "Z")
    made = await client.post(URL, json={"email": "Ann@EXAMPLE.org"})
    shown = {"id": house.address_hash(ANN), "reason": "manual", "created_at": at}
    assert (made.status_code, made.json()) == (201, {**shown, "subscriber": None})
    clock.advance(days=1)
    again = await client.post(URL, json={"email": ANN, "reason": "manual"})
    assert (again.status_code, again.json()) == (200, made.json())
    for reason in ("hard_bounce", "complaint"):
        other = await client.post(URL, json={"email": ANN, "reason": reason})
        assert (other.status_code, other.json()["reason"]) == (201, reason)
    page = (await client.get(URL)).json()
    assert set(page) == {"items", "next_cursor"}
    assert page["items"][2] == made.json()
    assert [item["reason"] for item in page["items"]] == ["hard_bounce", "complaint", "manual"]


async def test_of_several_at_the_same_time_one_is_new(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post(URL, json={"email": ANN}) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 201]
    assert len({answer.text for answer in answers}) == 1


async def test_an_entry_names_the_subscriber_and_never_the_address(
    client: httpx.AsyncClient, insert: Insert, rows: Rows
) -> None:
    await insert([Person(f"{MARK}@example.org"), Person("bob@example.org")])
    made = await client.post(URL, json={"email": f"{MARK}@example.org"})
    await client.post(URL, json={"email": "stranger@example.org"})
    answer = await client.get(URL)
    assert MARK not in answer.text + made.text
    people = {row["email"]: str(row["id"]) for row in await rows(tables.subscribers)}
    found = {item["id"]: item["subscriber"] for item in answer.json()["items"]}
    assert made.json()["subscriber"] == people[f"{MARK}@example.org"]
    assert sorted(found.values(), key=str) == sorted([made.json()["subscriber"], None], key=str)


@pytest.mark.usefixtures("open_house")
async def test_mail_that_waits_for_a_suppressed_address_is_skipped(
    client: httpx.AsyncClient, sign_up: SignUp, deliver_all: DeliverAll, rows: Rows
) -> None:
    await sign_up(ANN)
    await sign_up("bob@example.org")
    assert (await client.post(URL, json={"email": ANN})).status_code == 201
    assert [mail.to for mail in await deliver_all()] == ["bob@example.org"]
    mails = {row["state"]: row["outcome"] for row in await rows(tables.outbox)}
    assert mails == {"skipped": "suppressed", "sent": "sent"}


@pytest.mark.usefixtures("open_house")
async def test_once_lifted_the_address_is_mailed_again(
    client: httpx.AsyncClient, sign_up: SignUp, deliver_all: DeliverAll
) -> None:
    await client.post(URL, json={"email": ANN})
    await sign_up(ANN)
    assert await deliver_all() == []
    assert (await client.delete(f"{URL}/{ANN}")).status_code == 204
    await sign_up(ANN)
    assert [mail.to for mail in await deliver_all()] == [ANN]


@on_sqlite
async def test_a_bad_address_or_reason_suppresses_nobody(
    client: httpx.AsyncClient, stored: Stored
) -> None:
    before = await stored()
    for email in ("", "ann", f"{MARK}@", "Ann <ann@example.org>", "ann@example.org\x00", 1, None):
        assert faults(await client.post(URL, **as_json({"email": email}))) == ["/email"]
    for reason in ("erased", "", "Manual", "nope", f"{MARK}\ud800", 1, None, ["manual"]):
        answer = await client.post(URL, **as_json({"email": ANN, "reason": reason}))
        assert faults(answer) == ["/reason"], reason
    assert faults(await client.post(URL, json={})) == ["/email"]
    assert faults(await client.post(URL, json={"email": ANN, "until": 1})) == ["/until"]
    wholes: list[object] = [[], ANN]
    for whole in wholes:
        assert faults(await client.post(URL, **as_json(whole))) == [""]
    problem(await client.post(URL, data={"email": ANN}), 415, "unsupported-media-type")
    problem(await client.post(URL), 415, "unsupported-media-type")
    json_type = {"Content-Type": "application/json"}
    problem(await client.post(URL, content=b"{", headers=json_type), 400, "unreadable")
    problem(await client.post(URL, json={"email": "x" * 70_000}), 413, "too-large")
    assert await stored() == before


async def test_pages_have_every_entry_once_newest_first_however_small_they_are(
    client: httpx.AsyncClient, add: Add
) -> None:
    for i in range(3):
        await add(f"p{i}@example.org", Reason.MANUAL, Reason.COMPLAINT, minutes=i // 2)
    whole = await listed(client)
    assert len(set(whole)) == 6
    moments = [item["created_at"] for item in (await client.get(URL)).json()["items"]]
    assert moments == sorted(moments, reverse=True)
    for limit in range(1, 8):
        pages = [await client.get(URL, params={"limit": limit})]
        while (cursor := pages[-1].json()["next_cursor"]) is not None:
            link, rel = pages[-1].headers["link"].split("; ")
            assert (rel, link[0], link[-1]) == ('rel="next"', "<", ">")
            assert link[1:-1] == str(
                httpx.URL(BASE_URL + URL, params={"limit": limit, "cursor": cursor})
            )
            pages.append(await client.get(link[1:-1]))
        assert "link" not in pages[-1].headers
        found = [[(i["id"], i["reason"]) for i in page.json()["items"]] for page in pages]
        assert [entry for page in found for entry in page] == whole
        assert all(len(page) == limit for page in found[:-1])


async def test_filters_by_reason_and_address(client: httpx.AsyncClient, add: Add) -> None:
    ann = await add(ANN, *Reason)
    bob = await add("bob@example.org", Reason.MANUAL, minutes=1)
    for reason in Reason:
        expected = [(ann, reason), *([(bob, reason)] if reason is Reason.MANUAL else [])]
        assert await listed(client, reason=reason) == expected
    assert await listed(client, email="BOB@Example.org") == [(bob, "manual")]
    assert {reason for _, reason in await listed(client, email=ANN)} == set(Reason)
    assert await listed(client, email=ANN, reason="erased") == [(ann, "erased")]
    assert await listed(client, email="nobody@example.org") == []


@on_sqlite
async def test_what_cannot_be_asked_is_named(client: httpx.AsyncClient) -> None:
    for name, values in {
        "reason": ("", "Manual", "nope", f"{MARK}\x00"),
        "email": ("", "not an address", "Ann <ann@example.org>", "ann@example.org\x00"),
        "limit": ("", "0", "501", "ten"),
        "cursor": ("", "x", "\x00"),
        "offset": ("1",),
        "state": ("held",),
    }.items():
        for bad in values:
            assert faults(await client.get(URL, params={name: bad})) == [f"/{name}"], bad
    twice = f"{URL}?reason=manual&reason=erased"
    assert faults(await client.get(twice)) == ["/reason"]


async def test_a_cursor_holds_for_its_own_filters_and_list_only(
    client: httpx.AsyncClient, add: Add
) -> None:
    for i in range(3):
        await add(f"p{i}@example.org", Reason.MANUAL)
    mine = {"limit": "1", "reason": "manual"}
    cursor = (await client.get(URL, params=mine)).json()["next_cursor"]
    assert "example" not in cursor
    assert len(await listed(client, **{**mine, "limit": "500"}, cursor=cursor)) == 2
    for params in (
        {"limit": "1", "cursor": cursor},
        {**mine, "email": ANN, "cursor": cursor},
        {**mine, "cursor": cursor[:-1]},
    ):
        assert faults(await client.get(URL, params=params)) == ["/cursor"], params
    assert faults(await client.get("/v1/outbox", params={"cursor": cursor})) == ["/cursor"]


async def test_all_that_a_human_may_lift_is_lifted_or_only_one_reason(
    client: httpx.AsyncClient, add: Add
) -> None:
    ann = await add(ANN, *Reason)
    assert (await client.delete(f"{URL}/{ann}?reason=complaint")).status_code == 204
    problem(await client.delete(f"{URL}/{ann}?reason=complaint"), 404, "not-found")
    assert {r for _, r in await listed(client)} == set(Reason) - {Reason.COMPLAINT}
    lifted = await client.delete(f"{URL}/{quote('Ann@EXAMPLE.org', safe='')}")
    assert (lifted.status_code, lifted.content) == (204, b"")
    assert await listed(client) == [(ann, "erased")]


async def test_each_reason_but_erased_can_be_lifted(client: httpx.AsyncClient, add: Add) -> None:
    for reason in BLOCKING:
        ann = await add(ANN, reason)
        assert (await client.delete(f"{URL}/{ann}")).status_code == 204
        assert await listed(client) == []
        problem(await client.delete(f"{URL}/{ann}"), 404, "not-found")
    ann = await add(ANN, Reason.ERASED)
    for query in ("", "?reason=erased"):
        told = problem(await client.delete(f"{URL}/{ann}{query}"), 409, "conflict")
        assert "fresh confirmation" in told["detail"]
    problem(await client.delete(f"{URL}/{ann}?reason=manual"), 404, "not-found")
    assert await listed(client) == [(ann, "erased")]


async def test_what_is_not_suppressed_is_not_found(client: httpx.AsyncClient, add: Add) -> None:
    ann = await add(ANN, Reason.MANUAL)
    for named in (
        "bob@example.org",
        "0" * 64,
        ann[:-1],
        ann.upper(),
        "x",
        "%00",
        "@",
        "a@b@c",
        f"{MARK}%00@example.org",
        "%ff@example.org",
        "x" * 5_000,
        "manual",
    ):
        problem(await client.delete(f"{URL}/{named}"), 404, "not-found")
    for query in ("reason=nope", "reason=", "reasn=manual", "limit=1"):
        name = query.partition("=")[0]
        assert faults(await client.delete(f"{URL}/{ann}?{query}")) == [f"/{name}"]
    twice = f"{URL}/{ann}?reason=manual&reason=complaint"
    assert faults(await client.delete(twice)) == ["/reason"]
    assert await listed(client) == [(ann, "manual")]


@pytest.mark.usefixtures("open_house")
async def test_a_key_of_one_newsletter_sees_and_changes_nothing(
    client: httpx.AsyncClient, key: Key, add: Add, stored: Stored
) -> None:
    ann = await add(ANN, Reason.MANUAL)
    scopes = (Scope.SUBSCRIBERS_READ, Scope.SUBSCRIBERS_WRITE)
    before = await stored()
    client.headers.update(await key(*scopes, newsletter="insights"))
    problem(await client.get(URL), 403, "forbidden")
    problem(await client.post(URL, json={"email": "bob@example.org"}), 403, "forbidden")
    problem(await client.delete(f"{URL}/{ann}"), 403, "forbidden")
    assert await stored() == before


@on_sqlite
async def test_reading_and_writing_need_their_own_scopes(
    client: httpx.AsyncClient, key: Key, add: Add, stored: Stored
) -> None:
    ann = await add(ANN, Reason.MANUAL)
    before = await stored()
    reader, writer = await key(Scope.SUBSCRIBERS_READ), await key(Scope.SUBSCRIBERS_WRITE)
    for headers, status, name in (
        (reader, 403, "forbidden"),
        ({"Authorization": "Bearer x"}, 401, "unauthenticated"),
    ):
        answer = await client.post(URL, json={"email": "bob@example.org"}, headers=headers)
        problem(answer, status, name)
        problem(await client.delete(f"{URL}/{ann}", headers=headers), status, name)
    problem(await client.get(URL, headers=writer), 403, "forbidden")
    assert await stored() == before


async def test_the_longest_address_is_lifted_by_itself(
    client: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    longest = f"{'a' * 64}@{'.'.join(['b' * 58] * 3)}.example.org"
    added = await client.post("/v1/suppressions", json={"email": longest}, headers=admin)
    assert added.status_code == 201
    lifted = await client.delete(f"/v1/suppressions/{longest}", headers=admin)
    assert lifted.status_code == 204
