from datetime import datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.db import transports
from app.db.engine import Engine
from app.db.outbox import State
from app.db.transports import Pause
from app.services.keys import Scope
from tests.conftest import BASE_URL, Clock, Make
from tests.web.answers import MARK, faults, on_sqlite, problem
from tests.web.conftest import Key
from tests.web.queue import Queue

pytestmark = [pytest.mark.anyio]


@pytest.fixture(autouse=True)
def _as_admin(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    client.headers.update(admin)


async def listed(client: httpx.AsyncClient, **params: str) -> list[int]:
    answer = await client.get("/v1/outbox", params=params)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def shown(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


async def test_an_item_has_exactly_the_members_of_the_contract_and_no_address(
    client: httpx.AsyncClient, queue: Queue
) -> None:
    now = queue.ago()
    message = await queue.put(
        f"{MARK}@example.org",
        state="leased",
        attempts=2,
        expirations=1,
        outcome="retry_recipient 450",
        provider_id="abc",
        recipient=f"{MARK}@example.org",
        lease_until=now + timedelta(minutes=1),
    )
    answer = await client.get("/v1/outbox")
    assert MARK not in answer.text
    page = answer.json()
    assert set(page) == {"items", "next_cursor", "transports"}
    assert (page["next_cursor"], page["transports"], "link" in answer.headers) == (None, [], False)
    row = await queue.row(message)
    assert page["items"] == [
        {
            "id": message,
            "kind": "confirm",
            "newsletter": "insights",
            "subscriber": str(row["subscriber_id"]),
            "subscription": str(row["subscription_id"]),
            "state": "leased",
            "priority": 0,
            "attempts": 2,
            "expirations": 1,
            "outcome": "retry_recipient 450",
            "provider_id": "abc",
            "due_at": shown(now),
            "lease_until": shown(now + timedelta(minutes=1)),
            "created_at": shown(now),
            "settled_at": None,
        }
    ]


async def test_mail_of_somebody_who_is_gone_is_still_listed(
    client: httpx.AsyncClient, queue: Queue
) -> None:
    gone = UUID(int=7)
    await queue.put(subscriber_id=None, subscription_id=gone, state="sent", settled_at=queue.ago())
    [item] = (await client.get("/v1/outbox")).json()["items"]
    assert (item["subscriber"], item["subscription"], item["newsletter"]) == (None, str(gone), None)
    assert item["settled_at"] == shown(queue.ago())
    assert await listed(client, newsletter="insights") == []


async def test_pages_have_every_message_once_newest_first_however_small_they_are(
    client: httpx.AsyncClient, queue: Queue
) -> None:
    whole = [await queue.put(f"p{i}@example.org") for i in range(5)][::-1]
    for limit in range(1, 7):
        pages = [await client.get("/v1/outbox", params={"limit": limit, "state": "held"})]
        while (cursor := pages[-1].json()["next_cursor"]) is not None:
            [link, rel] = pages[-1].headers["link"].split("; ")
            assert rel == 'rel="next"'
            assert link.startswith(f"<{BASE_URL}/v1/outbox?")
            assert dict(httpx.URL(link[1:-1]).params) == {
                "limit": str(limit),
                "state": "held",
                "cursor": cursor,
            }
            pages.append(await client.get(link[1:-1]))
        assert "link" not in pages[-1].headers
        found = [[item["id"] for item in page.json()["items"]] for page in pages]
        assert [message for page in found for message in page] == whole
        assert all(len(page) == limit for page in found[:-1])


async def test_fifty_are_a_page_and_new_mail_does_not_shift_the_next(
    client: httpx.AsyncClient, queue: Queue
) -> None:
    whole = [await queue.put() for _ in range(52)][::-1]
    first = (await client.get("/v1/outbox")).json()
    await queue.put()
    assert [item["id"] for item in first["items"]] == whole[:50]
    assert await listed(client, cursor=first["next_cursor"]) == whole[50:]


async def test_filters_combine(client: httpx.AsyncClient, queue: Queue, newsletter: Make) -> None:
    await newsletter("other")
    kinds, slugs = ("confirm", "welcome"), ("insights", "other")
    mails = {
        await queue.put(f"{slug}@example.org", slug, kind=kind, state=state): (state, kind, slug)
        for state, kind, slug in product(State, kinds, slugs)
    }
    for wanted in product((None, *State), (None, *kinds), (None, *slugs)):
        params = dict(zip(("state", "kind", "newsletter"), wanted, strict=True))
        given = {name: value for name, value in params.items() if value is not None}
        expected = [
            message
            for message, mail in mails.items()
            if all(w in {None, m} for w, m in zip(wanted, mail, strict=True))
        ]
        assert await listed(client, **given) == expected[::-1], given


@on_sqlite
async def test_odd_but_possible_questions_find_nothing(
    client: httpx.AsyncClient, queue: Queue
) -> None:
    await queue.put()
    for params in ({"newsletter": "nope"}, {"newsletter": ""}, {"kind": "welcome"}):
        assert await listed(client, **params) == []


@on_sqlite
async def test_what_cannot_be_asked_is_named(client: httpx.AsyncClient) -> None:
    for name, values in {
        "state": ("", "Held", "gone", "held,failed", f"{MARK}\x00"),
        "kind": ("", "nope", "CONFIRM"),
        "newsletter": ("a\x00", "\u202e", "x" * 127),
        "limit": ("", "0", "501", "-1", "ten", "9" * 30),
        "cursor": ("", "x", "\x00", "ö" * 9_000),
        "offset": ("1",),
        "email": ("ann@example.org",),
        "sort": ("id",),
    }.items():
        for bad in values:
            answer = await client.get("/v1/outbox", params={name: bad})
            assert faults(answer) == [f"/{name}"], bad
    twice = "/v1/outbox?state=held&state=failed&limit=1&limit=2"
    assert faults(await client.get(twice)) == ["/state", "/limit"]


async def test_a_cursor_holds_for_its_own_filters_and_list_only(
    client: httpx.AsyncClient, queue: Queue
) -> None:
    for i in range(3):
        await queue.put(f"p{i}@example.org")
    mine = {"limit": "1", "state": "held"}
    cursor = (await client.get("/v1/outbox", params=mine)).json()["next_cursor"]
    assert len(await listed(client, **{**mine, "limit": "500"}, cursor=cursor)) == 2
    foreign = (await client.get("/v1/subscribers", params={"limit": 1})).json()["next_cursor"]
    for params in (
        {"limit": "1", "cursor": cursor},
        {**mine, "kind": "confirm", "cursor": cursor},
        {"state": "failed", "cursor": cursor},
        {**mine, "cursor": cursor[:-1]},
        {**mine, "cursor": foreign},
        {"cursor": foreign},
    ):
        assert faults(await client.get("/v1/outbox", params=params)) == ["/cursor"], params
    answer = await client.get("/v1/subscribers", params={"limit": 1, "cursor": cursor})
    assert faults(answer) == ["/cursor"]


async def test_transports_that_rest_are_told_with_every_page(
    client: httpx.AsyncClient, engine: Engine, clock: Clock
) -> None:
    until = clock.now + timedelta(minutes=15)
    await engine.write(
        transports.pause, "smtp", Pause(until, "sender_fault 535 5.7.8", clock.now, 2)
    )
    await engine.write(transports.pause, "maildir", Pause(None, "unknown", clock.now, 1))
    await engine.write(transports.pause, "well", Pause(until, "x", clock.now, 1))
    await engine.write(transports.resume, "well")
    since: dict[str, Any] = {"since": shown(clock.now)}
    for params in ({}, {"state": "sent"}):
        assert (await client.get("/v1/outbox", params=params)).json()["transports"] == [
            {"name": "maildir", "paused_until": None, "reason": "unknown", "failures": 1, **since},
            {
                "name": "smtp",
                "paused_until": shown(until),
                "reason": "sender_fault 535 5.7.8",
                "failures": 2,
                **since,
            },
        ]


async def test_a_key_of_one_newsletter_sees_only_its_mail(
    client: httpx.AsyncClient, queue: Queue, newsletter: Make, key: Key
) -> None:
    await newsletter("other")
    mine = await queue.put()
    await queue.put("bob@example.org", "other")
    await queue.put(subscription_id=None)
    client.headers.update(await key(Scope.SUBSCRIBERS_READ, newsletter="insights"))
    assert await listed(client) == await listed(client, newsletter="insights") == [mine]
    assert await listed(client, state="held", limit="1") == [mine]
    answer = await client.get("/v1/outbox", params={"newsletter": "other"})
    problem(answer, 403, "forbidden")
