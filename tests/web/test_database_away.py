"""The database goes away in a request: 503, then well again; a failed commit is never a 202."""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection

from app.db.engine import Engine
from app.web.deps import Site
from tests.conftest import SignUp
from tests.web.answers import html, on_postgresql, on_sqlite, problem
from tests.web.conftest import Paths, Stored

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]

Switch = Callable[[str], Awaitable[None]]
BROWSER = {"Accept": "text/html"}
FORM = {"email": "bob@example.org", "consent": "on"}


@pytest.fixture
def serving(database: str, postgres: str) -> Switch:
    """Let PostgreSQL serve this database, or end its connections and take no more."""
    name = urlsplit(database).path.lstrip("/")

    async def switch(to: str) -> None:
        other = await asyncpg.connect(postgres.format("postgres"))
        await other.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {to == "on"}')
        if to == "off":
            end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
            await other.execute(end, name)
        await other.close()

    return switch


@on_postgresql
async def test_while_the_database_is_away_everybody_is_told_to_come_back(
    client: httpx.AsyncClient,
    sign_up: SignUp,
    paths: Paths,
    admin: dict[str, str],
    serving: Switch,
) -> None:
    await sign_up()
    links = await paths()
    assert (await client.get("/v1/subscribers", headers=admin)).status_code == 200
    await serving("off")
    for _ in range(2):
        problem(await sign_up("bob@example.org"), 503, "unavailable")
    problem(await client.get("/v1/subscribers", headers=admin), 503, "unavailable")
    problem(await client.get("/v1/newsletters/insights/form"), 503, "unavailable")
    problem(await client.get("/readyz"), 503, "unavailable")
    assert (await client.get("/healthz")).status_code == 200
    pages = [
        await client.post("/v1/subscriptions", data=FORM, headers=BROWSER),
        await client.get("/newsletters/insights"),
        *[await client.request(m, p) for p in links.values() for m in ("GET", "POST")],
    ]
    for page in pages:
        assert "Error 503" in html(page, 503)
        assert int(page.headers["retry-after"]) > 0
    problem(await client.post("/v1/subscriptions", data=FORM), 503, "unavailable")
    await serving("on")
    assert (await sign_up("bob@example.org")).status_code == 202
    assert (await client.post(links["confirm"])).status_code == 200
    assert (await client.get("/readyz")).json()["status"] == "ready"
    found = (await client.get("/v1/subscribers", headers=admin)).json()["items"]
    assert len(found) == 2


@on_postgresql
async def test_a_short_break_costs_at_most_the_requests_in_it(
    client: httpx.AsyncClient, sign_up: SignUp, serving: Switch
) -> None:
    several = [client.get("/newsletters/insights") for _ in range(8)]
    assert {page.status_code for page in await asyncio.gather(*several)} == {200}
    await serving("off")
    await serving("on")
    answers = [(await sign_up(f"p{i}@example.org")).status_code for i in range(10)]
    assert set(answers) <= {202, 503}
    assert answers[-5:] == [202] * 5


_FAIL = """CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN RAISE EXCEPTION ''ann@example.org''; END'"""
_AT_COMMIT = """CREATE CONSTRAINT TRIGGER fail AFTER INSERT OR UPDATE ON subscriptions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()"""


def _run(connection: Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(text(statement))


@on_postgresql
async def test_a_commit_that_fails_is_never_a_202(
    sign_up: SignUp, engine: Engine, stored: Stored
) -> None:
    before = await stored()
    await engine.write(_run, _FAIL, _AT_COMMIT)
    answer = await sign_up()
    assert "ann@example.org" not in answer.text
    problem(answer, 500, "internal")
    assert await stored() == before
    await engine.write(_run, "DROP TRIGGER fail ON subscriptions")
    assert (await sign_up()).status_code == 202


@on_postgresql
async def test_one_poisonous_sign_up_fails_alone(
    sign_up: SignUp, engine: Engine, stored: Stored
) -> None:
    check = "ALTER TABLE subscribers ADD CHECK (email_key <> 'bad@example.org')"
    await engine.write(_run, check)
    names = [f"p{i}" for i in range(9)] + ["bad"] + [f"q{i}" for i in range(9)]
    answers = await asyncio.gather(*(sign_up(f"{name}@example.org") for name in names))
    got = {name: answer.status_code for name, answer in zip(names, answers, strict=True)}
    assert {name for name, status in got.items() if status != 202} == {"bad"}
    problem(answers[names.index("bad")], 500, "internal")
    assert len((await stored())["subscriptions"]) == 18


@on_sqlite
async def test_a_full_disk_is_never_a_202(
    client: httpx.AsyncClient, sign_up: SignUp, site: Site, stored: Stored
) -> None:
    await sign_up()
    before = await stored()
    await site.engine.write(_pages, "page_count")
    answers = [await sign_up(f"{i}{'x' * 60}@example.org", name="x" * 100) for i in range(200)]
    refused = [answer for answer in answers if answer.status_code != 202]
    for answer in refused:
        problem(answer, 503, "unavailable")
    assert refused
    kept = len((await stored())["subscribers"]) - len(before["subscribers"])
    assert kept == len(answers) - len(refused)
    assert (await client.get("/newsletters/insights")).status_code == 200
    await site.engine.write(_pages, "1000000")
    assert (await sign_up("bob@example.org")).status_code == 202


def _pages(connection: Connection, limit: str) -> None:
    if limit == "page_count":
        limit = str(connection.execute(text("PRAGMA page_count")).scalar_one())
    connection.execute(text(f"PRAGMA max_page_count = {limit}"))


@on_sqlite
async def test_a_process_that_shuts_down_takes_nothing_more(
    client: httpx.AsyncClient, sign_up: SignUp, site: Site, stored: Stored
) -> None:
    before = await stored()
    await site.groups.close()
    problem(await sign_up(), 503, "busy")
    page = await client.post("/v1/subscriptions", data=FORM, headers=BROWSER)
    assert "Error 503" in html(page, 503)
    assert await stored() == before
