from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.engine import Connection

from app.db import outbox, schema, tables, transports
from app.db.engine import Engine
from app.db.transports import Pause
from app.domain.rate import Rate
from app.main import create_app
from app.services.house import House
from app.settings import Settings
from tests.conftest import Clock, Make, SignUp
from tests.web.answers import problem

pytestmark = [pytest.mark.anyio]


async def warnings_of(client: httpx.AsyncClient) -> list[str]:
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    found: list[str] = answer.json()["warnings"]
    return found


@pytest.mark.usefixtures("open_house")
async def test_all_is_well(client: httpx.AsyncClient, sign_up: SignUp) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert await warnings_of(client) == []
    await sign_up()
    assert await warnings_of(client) == []


async def test_a_missing_policy_is_a_warning(client: httpx.AsyncClient, newsletter: Make) -> None:
    await newsletter()
    [warning] = await warnings_of(client)
    assert "policy" in warning


@pytest.mark.usefixtures("open_house")
async def test_mail_that_waits_too_long_is_a_warning(
    client: httpx.AsyncClient, sign_up: SignUp, clock: Clock
) -> None:
    await sign_up()
    clock.advance(minutes=5)
    assert await warnings_of(client) == []
    clock.advance(seconds=1)
    [warning] = await warnings_of(client)
    assert "worker" in warning


RESTS = {
    "sender_fault 535 5.7.8": (
        "mail through smtp rests since 2026-11-25T03:00:00Z, until 2026-11-25T03:15:00Z, when one "
        "message probes: sender_fault 535 5.7.8. We are not allowed to send: mend that, then "
        "POST /v1/outbox/resume"
    ),
    "retry_transport ConnectionRefusedError": (
        "mail through smtp rests since 2026-11-25T03:00:00Z, until 2026-11-25T03:15:00Z, when one "
        "message probes: retry_transport ConnectionRefusedError. It goes on by itself as soon as "
        "that works; to try at once, POST /v1/outbox/resume"
    ),
}


@pytest.mark.usefixtures("open_house")
@pytest.mark.parametrize("reason", RESTS)
async def test_a_transport_that_rests_is_a_warning_that_says_what_to_do(
    client: httpx.AsyncClient, engine: Engine, clock: Clock, reason: str
) -> None:
    clock.now = datetime(2026, 11, 25, 3, tzinfo=UTC)
    pause = Pause(clock.now + timedelta(minutes=15), reason, clock.now, 3)
    await engine.write(transports.pause, "smtp", pause)
    assert await warnings_of(client) == [RESTS[reason]]
    clock.advance(minutes=15)
    [warning] = await warnings_of(client)
    assert "rests since 2026-11-25T03:00:00Z, until one message has probed: " in warning
    await engine.write(transports.resume, "smtp")
    assert await warnings_of(client) == []


@pytest.mark.usefixtures("open_house")
async def test_mail_that_needs_a_human_is_a_warning(
    client: httpx.AsyncClient, engine: Engine, sign_up: SignUp
) -> None:
    await sign_up()
    hold = tables.outbox.update().values(state="held")
    await engine.write(lambda c: c.execute(hold).rowcount)
    [warning] = await warnings_of(client)
    assert "GET /v1/outbox?state=held" in warning


@pytest.mark.usefixtures("open_house")
async def test_confirmation_mails_that_wait_in_line_are_a_warning(
    settings: Settings, house: House, admin: dict[str, str]
) -> None:
    app = create_app(settings, house=replace(house, confirm_rate=Rate(1, 3_600)))
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=house.base_url) as client,
    ):
        bodies = [{"email": f"{who}@example.org", "consent": True} for who in ("ann", "bob")]
        answers = [await client.post("/v1/subscriptions", json=body) for body in bodies]
        assert answers[0].content == answers[1].content
        [warning] = await warnings_of(client)
        assert warning.startswith("confirmation mails wait: more than 1/h were asked for")
        shown = (await client.get("/v1/outbox", headers=admin)).json()["items"]
        assert [item["outcome"] for item in shown] == ["held back", None]
        resumed = await client.post("/v1/outbox/resume", headers=admin)
        assert resumed.json() == {"resumed": ["confirm"]}
        assert await warnings_of(client) == []


@pytest.mark.usefixtures("open_house")
async def test_pending_migrations_are_a_reason_not_to_serve(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    await engine.write(_forget_migrations)
    problem(await client.get("/readyz"), 503, "unavailable")
    assert (await client.get("/healthz")).status_code == 200


def _forget_migrations(connection: Connection) -> None:
    connection.execute(text("DELETE FROM alembic_version"))


async def test_so_is_a_database_without_tables(client: httpx.AsyncClient, engine: Engine) -> None:
    await engine.write(schema.downgrade, "base")
    problem(await client.get("/readyz"), 503, "unavailable")
    assert (await client.head("/readyz")).status_code == 503


@pytest.mark.usefixtures("open_house")
async def test_only_what_is_due_counts_as_waiting(
    client: httpx.AsyncClient, engine: Engine, sign_up: SignUp, clock: Clock
) -> None:
    await sign_up()
    later: dict[str, Any] = {"due_at": clock.now + timedelta(hours=1)}
    t = tables.outbox
    await engine.write(lambda c: c.execute(t.update().values(**later)).rowcount)
    clock.advance(minutes=30)
    assert await warnings_of(client) == []
    assert await engine.read(outbox.oldest_due, clock.now) is None


async def test_before_the_first_migration_every_answer_is_503(
    tmp_path: Path, settings: Settings, house: House
) -> None:
    file = SecretStr(f"sqlite:///{tmp_path / 'empty.db'}")
    app = create_app(settings.model_copy(update={"database_url": file}), house=house)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=house.base_url) as client,
    ):
        body = {"email": "ann@example.org", "consent": True}
        for answer in (
            await client.get("/readyz"),
            await client.post("/v1/subscriptions", json=body),
            await client.get("/newsletters/insights"),
        ):
            assert answer.status_code == 503
            assert "Retry-After" in answer.headers
            assert "run newsletter migrate" in answer.text
