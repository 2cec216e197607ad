"""A human's word: try this one again, and let mail leave."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from structlog.testing import capture_logs

from app.db import transports
from app.db.engine import Engine
from app.db.outbox import State
from app.db.transports import Pause
from app.db.wakeups import open_wakeups
from app.domain.retry import Outcome, Verdict
from app.main import create_app
from app.services import outbox
from app.services.house import House
from app.services.keys import Scope
from app.services.outbox import Hand, Tried
from app.settings import Settings
from app.web.deps import Site
from app.worker import deliver
from tests.conftest import BASE_URL, Clock, DeliverAll, Mailbox, Make
from tests.web.answers import MARK, as_json, faults, on_postgresql, on_sqlite, problem
from tests.web.conftest import Key, Stored
from tests.web.queue import Queue
from tests.worker.stage import eventually

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


@on_sqlite
async def test_who_may_only_read_may_not_send(
    client: httpx.AsyncClient, queue: Queue, key: Key
) -> None:
    message = await queue.put()
    reader, sender = await key(Scope.SUBSCRIBERS_READ), await key(Scope.ISSUES_SEND)
    for call in (path(message), RESUME):
        problem(await client.post(call, headers=reader), 403, "forbidden")
        problem(await client.post(call, headers={"Authorization": ""}), 401, "unauthenticated")
    problem(await client.get("/v1/outbox", headers=sender), 403, "forbidden")
    problem(await client.get("/v1/outbox", headers={"Authorization": ""}), 401, "unauthenticated")


async def pause(engine: Engine, clock: Clock, *names: str) -> None:
    until = clock.now + timedelta(minutes=15)
    for name in names:
        found = Pause(until, "sender_fault 535 5.7.8", clock.now, 1)
        await engine.write(transports.pause, name, found)


async def resting(engine: Engine) -> set[str]:
    return set(await engine.read(transports.read_all))


@pytest.mark.usefixtures("queue")
async def test_resuming_names_what_rested_and_again_nothing(
    client: httpx.AsyncClient, engine: Engine, clock: Clock
) -> None:
    assert (await client.post(RESUME)).json() == {"resumed": []}
    await pause(engine, clock, "smtp", "postmark", "ses")
    one = await client.post(RESUME, json={"transport": "ses"})
    assert (one.status_code, one.json()) == (200, {"resumed": ["ses"]})
    assert await resting(engine) == {"postmark", "smtp"}
    for nothing in ("ses", "nope"):
        answer = await client.post(RESUME, json={"transport": nothing})
        assert answer.json() == {"resumed": []}
    assert (await client.post(RESUME)).json() == {"resumed": ["postmark", "smtp"]}
    assert await resting(engine) == set()
    await pause(engine, clock, "smtp")
    assert (await client.post(RESUME, json={})).json() == {"resumed": ["smtp"]}
    assert (await client.post(RESUME, headers={"Content-Type": "text/plain"})).json() == {
        "resumed": []
    }


async def claim(engine: Engine, house: House) -> Hand:
    return await engine.write(outbox.claim, house, "one", "smtp", 500, alone=True)


async def test_after_resuming_everything_that_is_due_leaves_and_nothing_probes(
    client: httpx.AsyncClient, queue: Queue, engine: Engine, clock: Clock, house: House
) -> None:
    for i in range(4):
        await queue.put(f"p{i}@example.org", state="waiting")
    await pause(engine, clock, "smtp")
    assert (await claim(engine, house)).leases == []
    await client.post(RESUME)
    leases = (await claim(engine, house)).leases
    assert [lease.probe for lease in leases] == [False] * 4


async def test_what_failed_for_the_sake_of_the_transport_leaves_at_once(
    client: httpx.AsyncClient, queue: Queue, engine: Engine, clock: Clock, house: House
) -> None:
    said = {
        "fault@example.org": Verdict(Outcome.SENDER_FAULT, "535 5.7.8"),
        "away@example.org": Verdict(Outcome.RETRY_TRANSPORT, "421"),
        "grey@example.org": Verdict(Outcome.RETRY_RECIPIENT, "450 4.7.1"),
        "lost@example.org": Verdict(Outcome.UNKNOWN, "TimeoutError"),
    }
    for email in said:
        await queue.put(email, state="waiting")
    tried = [Tried(lease, said[lease.email]) for lease in (await claim(engine, house)).leases]
    assert await engine.write(outbox.settle, house, "smtp", tried)
    assert (await claim(engine, house)).leases == []
    assert (await client.post(RESUME)).json() == {"resumed": ["smtp"]}
    found = (await claim(engine, house)).leases
    assert {lease.email for lease in found} == {"fault@example.org", "away@example.org"}
    clock.advance(minutes=7)
    found = (await claim(engine, house)).leases
    assert {"grey@example.org", "lost@example.org"} <= {lease.email for lease in found}


async def test_resuming_nothing_hastens_nothing(
    client: httpx.AsyncClient, queue: Queue, stored: Stored
) -> None:
    later = queue.ago(minutes=-5)
    await queue.put(state="waiting", due_at=later, outcome="retry_transport 421")
    before = await stored()
    await client.post(RESUME)
    assert await stored() == before


@on_sqlite
async def test_a_bad_body_resumes_nothing(
    client: httpx.AsyncClient, queue: Queue, engine: Engine, clock: Clock, stored: Stored
) -> None:
    assert queue
    await pause(engine, clock, "smtp")
    before = await stored()
    for bad in (None, "", " ", 1, ["smtp"], f"{MARK}\x00", "\ud800", "x" * 201):
        answer = await client.post(RESUME, **as_json({"transport": bad}))
        assert faults(answer) == ["/transport"], bad
    for body in ({"transports": "smtp"}, {"transport": "smtp", "all": True}):
        assert faults(await client.post(RESUME, json=body))[0].startswith("/")
    wholes: list[object] = [[], "smtp", None, 1]
    for whole in wholes:
        assert faults(await client.post(RESUME, **as_json(whole))) == [""]
    json_type = {"Content-Type": "application/json"}
    for unreadable in (b"{", b"\xff", b'{"transport": NaN}'):
        answer = await client.post(RESUME, content=unreadable, headers=json_type)
        problem(answer, 400, "unreadable")
    twice = b'{"transport": "a", "transport": "b"}'
    assert faults(await client.post(RESUME, content=twice, headers=json_type)) == ["/transport"]
    form = await client.post(RESUME, data={"transport": "smtp"})
    problem(form, 415, "unsupported-media-type")
    large = await client.post(RESUME, json={"transport": "x" * 70_000})
    problem(large, 413, "too-large")
    assert await stored() == before


async def test_both_leave_one_line_in_the_log(
    client: httpx.AsyncClient, queue: Queue, engine: Engine, clock: Clock
) -> None:
    message = await queue.put()
    await pause(engine, clock, "smtp")
    with capture_logs() as lines:
        await client.post(path(message))
        await client.post(path(message))
        await client.post(RESUME)
    key_id = client.headers["authorization"].split("_")[1]
    told = [line for line in lines if line["event"] != "request"]
    assert told == [
        {"event": "mail_retried", "log_level": "info", "key": key_id, "id": message},
        {"event": "mail_resumed", "log_level": "info", "key": key_id, "transports": ["smtp"]},
    ]


async def test_both_wake_a_worker_in_this_process(
    client: httpx.AsyncClient, app: FastAPI, site: Site, queue: Queue
) -> None:
    rung: list[str] = []
    app.state.site = replace(site, wake=lambda: rung.append("ring"))
    message = await queue.put()
    await client.post(path(message))
    await client.post(RESUME)
    assert rung == ["ring", "ring"]
    await client.post(path(message))
    assert rung == ["ring", "ring"]


@on_postgresql
async def test_both_wake_workers_elsewhere(
    client: httpx.AsyncClient, queue: Queue, engine: Engine, clock: Clock, database: str
) -> None:
    message = await queue.put()
    await pause(engine, clock, "smtp")
    async with open_wakeups(database, database) as wakeups, asyncio.timeout(10):
        await wakeups.wait(600)  # every new watch begins with a call
        for call in (path(message), RESUME):
            waiting = asyncio.create_task(wakeups.wait(600))
            assert (await client.post(call)).status_code == 200
            await waiting


async def test_an_embedded_worker_sends_what_is_retried_without_any_poll(
    settings: Settings,
    house: House,
    mailbox: Mailbox,
    queue: Queue,
    admin: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliver, "IDLE_SECONDS", 600.0)
    message = await queue.put()
    changes = {
        "mail_url": SecretStr(f"maildir://{mailbox.folder}"),
        "database_pooler": "transaction",  # nothing listens
    }
    app = create_app(settings.model_copy(update=changes), house=house, with_worker=True)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=BASE_URL, headers=admin) as client,
    ):
        assert (await client.post(path(message))).status_code == 200
        await eventually(lambda: mailbox.mails)
    assert [mail.to for mail in mailbox.mails] == ["ann@example.org"]
