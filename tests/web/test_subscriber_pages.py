from datetime import timedelta
from uuid import UUID

import httpx
import pytest

from app.db import tables
from app.db.engine import Engine
from app.services.house import House
from app.tokens import Purpose
from app.web.api.subscribers import COUNT_CAP
from tests.conftest import Clock
from tests.web.answers import faults, on_sqlite, problem
from tests.web.conftest import Insert, Listed
from tests.web.people import DAY, Person

pytestmark = [pytest.mark.anyio]

SORTS = ["created_at", "-created_at", "email", "-email"]


@pytest.mark.parametrize("sort", SORTS)
async def test_pages_have_everybody_once_in_order_however_small_they_are(
    client: httpx.AsyncClient, insert: Insert, listed: Listed, sort: str
) -> None:
    letters = "dbGaCfE"
    people = [
        Person(f"{letter}@example.org", created_at=DAY + timedelta(days=i // 4))
        for i, letter in enumerate(letters)
    ]
    await insert(people)
    whole = await listed(sort=sort)
    if sort.endswith("email"):
        alphabetical = sorted((p.email for p in people), key=str.lower)
        assert whole == (alphabetical[::-1] if sort[0] == "-" else alphabetical)
    else:
        days = [next(p.created_at for p in people if p.email == email) for email in whole]
        assert days == sorted(days, reverse=sort[0] == "-")
    for limit in range(1, len(people) + 2):
        pages = await _walk(client, {"sort": sort, "limit": str(limit)})
        assert [email for page in pages for email in page] == whole
        assert all(len(page) == limit for page in pages[:-1])
        assert pages[-1]


async def _walk(client: httpx.AsyncClient, params: dict[str, str]) -> list[list[str]]:
    pages: list[list[str]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = (await client.get("/v1/subscribers", params={**params, **cursor})).json()
        pages.append([item["email"] for item in answer["items"]])
        if answer["next_cursor"] is None:
            return pages
        cursor = {"cursor": answer["next_cursor"]}


async def test_newest_first_is_the_default(insert: Insert, listed: Listed) -> None:
    await insert([Person(f"p{i}@example.org", created_at=DAY + timedelta(i)) for i in range(60)])
    first = await listed()
    assert first == await listed(sort="-created_at", limit="50")
    assert first[0] == "p59@example.org"
    assert len(first) == 50


async def test_somebody_new_does_not_shift_the_next_page(
    client: httpx.AsyncClient, insert: Insert, listed: Listed
) -> None:
    await insert([Person(f"p{i}@example.org", created_at=DAY + timedelta(i)) for i in range(4)])
    first = (await client.get("/v1/subscribers", params={"limit": 2})).json()
    await insert([Person("new@example.org", created_at=DAY + timedelta(9))])
    assert await listed(limit="2", cursor=first["next_cursor"]) == [
        "p1@example.org",
        "p0@example.org",
    ]


async def test_a_cursor_holds_for_its_own_filters_and_order_only(
    client: httpx.AsyncClient, insert: Insert, listed: Listed, house: House, clock: Clock
) -> None:
    await insert([Person(f"p{i}@example.org", {"a": ("confirmed", DAY)}) for i in range(4)])
    mine = {"limit": "1", "newsletter": "a"}
    cursor: str = (await client.get("/v1/subscribers", params=mine)).json()["next_cursor"]
    assert "example" not in cursor
    assert len(await listed(**mine, cursor=cursor)) == 1
    assert len(await listed(**{**mine, "limit": "500"}, cursor=cursor)) == 3
    forged = house.tokens.sign(Purpose.UNSUBSCRIBE, b"x" * 32, clock.now)
    short = house.tokens.sign(Purpose.CURSOR, b"x", clock.now)
    for params in (
        {**mine, "sort": "email", "cursor": cursor},
        {**mine, "status": "confirmed", "cursor": cursor},
        {"limit": "1", "cursor": cursor},
        {**mine, "cursor": cursor[:-1]},
        {**mine, "cursor": cursor.swapcase()},
        {**mine, "cursor": forged},
        {**mine, "cursor": short},
        {**mine, "cursor": "\x00"},
        {**mine, "cursor": "ö" * 9_000},
        {**mine, "cursor": ""},
    ):
        answer = await client.get("/v1/subscribers", params=params)
        assert faults(answer) == ["/cursor"], params


@pytest.mark.parametrize("sort", SORTS)
async def test_paging_goes_on_when_the_last_subscriber_of_a_page_is_gone(
    client: httpx.AsyncClient, insert: Insert, listed: Listed, engine: Engine, sort: str
) -> None:
    old = DAY.replace(year=1950)
    await insert([Person(f"p{i}@example.org", created_at=old) for i in range(3)])
    _, *rest = await listed(sort=sort)
    page = (await client.get("/v1/subscribers", params={"sort": sort, "limit": 1})).json()
    gone = UUID(page["items"][0]["id"])
    t = tables.subscribers
    await engine.write(lambda c: c.execute(t.delete().where(t.c.id == gone)).rowcount)
    params = {"sort": sort, "cursor": page["next_cursor"]}
    if sort.endswith("created_at"):
        assert await listed(**params) == rest
    else:  # no cursor holds an address, so the place in this order is gone with it
        answer = await client.get("/v1/subscribers", params=params)
        assert faults(answer) == ["/cursor"]
        assert "Start again" in answer.json()["errors"][0]["detail"]


async def test_the_total_is_counted_when_it_is_asked_for(
    client: httpx.AsyncClient, insert: Insert, admin: dict[str, str]
) -> None:
    held = {"a": ("confirmed", DAY), "b": ("confirmed", DAY)}
    await insert([Person(f"p{i}@example.org", dict(held)) for i in range(3)])
    params = {"count": "true", "limit": "2", "status": "confirmed"}
    page = (await client.get("/v1/subscribers", params=params, headers=admin)).json()
    assert set(page) == {"items", "next_cursor", "total"}
    assert (page["total"], len(page["items"])) == (3, 2)
    rest = {**params, "cursor": page["next_cursor"]}
    assert (await client.get("/v1/subscribers", params=rest, headers=admin)).json()["total"] == 3


async def test_the_total_is_exact_up_to_a_cap(
    client: httpx.AsyncClient, insert: Insert, admin: dict[str, str]
) -> None:
    ask = client.build_request("GET", "/v1/subscribers?count=true&limit=1", headers=admin)
    await insert([Person(f"p{i}@example.org") for i in range(COUNT_CAP)])
    page = (await client.send(ask)).json()
    assert (page["total"], "total_capped" in page) == (10_000, False)
    await insert([Person("one.more@example.org")])
    page = (await client.send(ask)).json()
    assert (page["total"], page["total_capped"]) == (10_000, True)


@on_sqlite
async def test_an_empty_list_is_a_page(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    answer = await client.get("/v1/subscribers?count=true", headers=admin)
    assert answer.json() == {"items": [], "next_cursor": None, "total": 0}
    problem(await client.post("/v1/subscribers", headers=admin), 405, "method-not-allowed")
