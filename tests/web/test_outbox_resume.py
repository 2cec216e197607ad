"""A human's word: let mail leave. And what is true of a retry too: scopes, the log, wake-ups."""

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
from tests.conftest import BASE_URL, Clock, Mailbox
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
    return await engine.write(outbox.claim, house, "one", "smtp", 500)


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
