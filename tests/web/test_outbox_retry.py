"""A human's word: try this one again."""

import asyncio
from datetime import timedelta

import httpx
import pytest

from app.db.outbox import State
from app.services.house import House
from app.services.keys import Scope
from tests.conftest import Clock, DeliverAll, Make
from tests.web.answers import problem
from tests.web.conftest import Key, Stored
from tests.web.queue import Queue

pytestmark = [pytest.mark.anyio]

RESUME = "/v1/outbox/resume"


@pytest.fixture(autouse=True)
def _as_admin(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    client.headers.update(admin)


def path(message: object) -> str:
    return f"/v1/outbox/{message}/retry"


async def test_a_held_message_waits_again_and_is_sent(
    client: httpx.AsyncClient, queue: Queue, deliver_all: DeliverAll, clock: Clock
) -> None:
    message = await queue.put(
        attempts=3,
        expirations=4,
        outcome="bad_message 554 5.6.0",
        settled_at=clock.now,
        due_at=clock.now + timedelta(days=1),
    )
    clock.advance(hours=1)
    assert await deliver_all() == []
    answer = await client.post(path(message))
    assert answer.status_code == 200
    now = clock.now.isoformat().replace("+00:00", "Z")
    [item] = (await client.get("/v1/outbox")).json()["items"]
    assert answer.json() == item
    assert {name: item[name] for name in ("state", "attempts", "expirations", "outcome")} == {
        "state": "waiting",
        "attempts": 3,
        "expirations": 0,
        "outcome": "bad_message 554 5.6.0",
    }
    assert (item["due_at"], item["settled_at"]) == (now, None)
    assert [mail.to for mail in await deliver_all()] == ["ann@example.org"]
    row = await queue.row(message)
    assert (row["state"], row["attempts"], row["outcome"]) == ("sent", 4, "sent")


@pytest.mark.usefixtures("queue")
async def test_a_message_that_is_not_there_is_not_found(client: httpx.AsyncClient) -> None:
    for number in ("1", "999", "0", "-1", "01", "+1", "1.0", "x", "%00", "\u0661", "9" * 18):
        problem(await client.post(path(number)), 404, "not-found")
    problem(await client.post(path("9" * 400)), 404, "not-found")


async def test_only_what_is_held_is_retried(
    client: httpx.AsyncClient, queue: Queue, stored: Stored
) -> None:
    for state in set(State) - {State.HELD}:
        message = await queue.put(state=state, lease_until=queue.ago())
        before = await stored()
        told = problem(await client.post(path(message)), 409, "conflict")
        assert state in told["detail"]
        assert await stored() == before


async def test_a_second_retry_finds_it_waiting(client: httpx.AsyncClient, queue: Queue) -> None:
    message = await queue.put()
    answers = await asyncio.gather(*(client.post(path(message)) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]


async def test_a_confirmation_whose_link_has_expired_is_of_no_use(
    client: httpx.AsyncClient, queue: Queue, house: House, stored: Stored
) -> None:
    ttl = house.confirm_ttl
    late = await queue.put(created_at=house.clock() - ttl)
    timely = await queue.put(created_at=house.clock() - ttl + timedelta(microseconds=1))
    before = await stored()
    told = problem(await client.post(path(late)), 409, "conflict")
    assert "Its link has expired." in told["detail"]
    assert await stored() == before
    assert (await client.post(path(timely))).status_code == 200


async def test_a_message_older_than_its_lifetime_is_truly_tried_again(
    client: httpx.AsyncClient, queue: Queue, deliver_all: DeliverAll
) -> None:
    message = await queue.put(kind="already_subscribed", created_at=queue.ago(days=30))
    await queue.confirm()
    assert (await client.post(path(message))).status_code == 200
    assert len(await deliver_all()) == 1
    assert (await queue.row(message))["state"] == "sent"


async def test_what_may_not_be_mailed_any_more_is_skipped_after_all(
    client: httpx.AsyncClient, queue: Queue, deliver_all: DeliverAll
) -> None:
    message = await queue.put()
    await queue.confirm()
    assert (await client.post(path(message))).status_code == 200
    assert await deliver_all() == []
    row = await queue.row(message)
    assert (row["state"], row["outcome"]) == ("skipped", "not pending")


async def test_a_key_of_one_newsletter_retries_only_its_mail_and_resumes_nothing(
    client: httpx.AsyncClient, queue: Queue, newsletter: Make, key: Key, stored: Stored
) -> None:
    await newsletter("other")
    mine, foreign = await queue.put(), await queue.put("bob@example.org", "other")
    ownerless = await queue.put(subscription_id=None)
    headers = await key(Scope.ISSUES_SEND, newsletter="insights")
    before = await stored()
    for message in (foreign, ownerless):
        problem(await client.post(path(message), headers=headers), 404, "not-found")
    problem(await client.post(RESUME, headers=headers), 403, "forbidden")
    assert await stored() == before
    assert (await client.post(path(mine), headers=headers)).status_code == 200
