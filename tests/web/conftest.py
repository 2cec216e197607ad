"""What tests of the web ask for besides: all that is stored, and links not yet mailed."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import Connection

from app.db import tables
from app.db.engine import Engine
from app.services import keys, links
from app.services.house import House
from app.services.keys import Scope, Wish
from tests.conftest import BASE_URL, Clock, Make
from tests.web import people
from tests.web.people import Person
from tests.web.queue import Queue

Stored = Callable[[], Awaitable[dict[str, list[dict[str, Any]]]]]
Paths = Callable[[], Awaitable[dict[str, str]]]
Insert = Callable[[list[Person]], Awaitable[None]]
Key = Callable[..., Awaitable[dict[str, str]]]
Listed = Callable[..., Awaitable[list[str]]]


@pytest.fixture
def stored(engine: Engine) -> Stored:
    """Read every table but the keys, whose last use changes with each request."""

    def read(connection: Connection) -> dict[str, list[dict[str, Any]]]:
        return {
            table.name: [dict(row) for row in connection.execute(table.select()).mappings()]
            for table in tables.metadata.sorted_tables
            if table is not tables.api_keys
        }

    async def run() -> dict[str, list[dict[str, Any]]]:
        return await engine.read(read)

    return run


@pytest.fixture
def paths(engine: Engine, house: House) -> Paths:
    """Return the paths in the newest confirmation mail: confirm, unsubscribe."""

    def read(connection: Connection) -> dict[str, str]:
        t = tables.outbox
        newest = t.select().where(t.c.kind == "confirm").order_by(t.c.id.desc()).limit(1)
        row = connection.execute(newest).one()
        at = row.created_at
        confirm = (row.subscription_id, row.generation, row.sequence)
        urls = {
            "confirm": links.confirm_url(house, *confirm, at),
            "unsubscribe": links.unsubscribe_url(house, row.subscription_id, at),
        }
        return {kind: url.removeprefix(BASE_URL) for kind, url in urls.items()}

    async def run() -> dict[str, str]:
        return await engine.read(read)

    return run


@pytest.fixture
async def insert(engine: Engine, house: House, newsletter: Make) -> Insert:
    """Insert people by SQL: `await insert([Person("ann@example.org")])`."""
    for slug in ("a", "b"):
        await newsletter(slug)

    async def run(found: list[Person]) -> None:
        await engine.write(people.insert, found, house)

    return run


@pytest.fixture
def listed(client: httpx.AsyncClient, admin: dict[str, str]) -> Listed:
    """List addresses: `await listed(status="confirmed")`."""
    client.headers.update(admin)

    async def ask(**params: str) -> list[str]:
        answer = await client.get("/v1/subscribers", params=params)
        assert answer.status_code == 200, answer.text
        return [item["email"] for item in answer.json()["items"]]

    return ask


@pytest.fixture
def key(engine: Engine, clock: Clock) -> Key:
    """Make a key: `await key(Scope.ADMIN, newsletter="insights")` returns its headers."""

    async def make(
        *scopes: Scope, newsletter: str | None = None, expires_at: datetime | None = None
    ) -> dict[str, str]:
        wish = Wish(name="a key", scopes=scopes, newsletter=newsletter, expires_at=expires_at)
        return {"Authorization": f"Bearer {await engine.write(keys.create, wish, clock.now)}"}

    return make


@pytest.fixture
def queue(engine: Engine, house: House, open_house: None) -> Queue:  # noqa: ARG001
    """Queue mail by SQL: `await queue.put("ann@example.org", state="held")`."""
    return Queue(engine, house)
