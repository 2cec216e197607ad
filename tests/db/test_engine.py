"""What `write` and `read` promise, also when the database is away."""

import asyncio
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.util import await_only

from app.db import tables
from app.db.engine import Engine, asyncpg_url, open_engine
from app.domain.errors import Unavailable

pytestmark = pytest.mark.anyio

ROWS = tables.transports

sqlite_only = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
postgresql_only = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


def add(connection: Connection, name: str = "a") -> str:
    connection.execute(insert(ROWS).values(name=name))
    return name


def count(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(ROWS)) or 0


async def test_a_write_is_committed_before_it_returns(engine: Engine, database: str) -> None:
    assert await engine.write(add, name="b") == "b"
    other = open_engine(database)
    assert await other.read(count) == 1
    await other.close()


async def test_a_read_cannot_write(engine: Engine) -> None:
    with pytest.raises((DBAPIError, Unavailable)):
        await engine.read(add)
    assert await engine.read(count) == 0
    await engine.write(add)
    assert await engine.read(count) == 1


async def test_an_exception_takes_everything_back(engine: Engine) -> None:
    def half(connection: Connection) -> None:
        add(connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await engine.write(half)
    assert await engine.read(count) == 0


async def test_a_refused_statement_is_not_taken_for_a_database_that_is_away(
    engine: Engine,
) -> None:
    await engine.write(add)
    with pytest.raises(IntegrityError):
        await engine.write(add)


async def test_a_commit_that_fails_is_not_reported_as_done(engine: Engine) -> None:
    postgres = engine.dialect == "postgresql"
    later = "DEFERRABLE INITIALLY DEFERRED"
    referred = f"CREATE TABLE child (parent INTEGER REFERENCES parent (id) {later})"

    def create(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE parent (id INTEGER PRIMARY KEY)"))
        connection.execute(text(referred))

    def orphan(connection: Connection) -> str:
        connection.execute(text("INSERT INTO child VALUES (7)"))
        add(connection)
        return "not yet committed"

    await engine.write(create)
    with pytest.raises(IntegrityError):
        await engine.write(orphan)
    assert await engine.read(count) == 0
    assert postgres or await engine.write(add) == "a"


async def test_errors_do_not_show_what_was_written(engine: Engine) -> None:
    await engine.write(add, "ann@example.org")
    with pytest.raises(IntegrityError) as refusal:
        await engine.write(add, "ann@example.org")
    assert "ann@" not in str(refusal.value).partition("DETAIL")[0]


async def test_many_reads_and_writes_share_the_connections(engine: Engine) -> None:
    await asyncio.gather(*(engine.write(add, str(number)) for number in range(40)))
    assert await asyncio.gather(*(engine.read(count) for _ in range(40))) == [40] * 40


async def test_a_reader_sees_one_moment(engine: Engine) -> None:
    await engine.write(add)
    assert await engine.read(lambda c: (count(c), count(c))) == (1, 1)


async def test_a_port_that_nobody_listens_on_is_unavailable() -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    away = open_engine(f"postgresql://somebody@127.0.0.1:{port}/nothing")
    for work in (away.read, away.write):
        with pytest.raises(Unavailable):
            await work(count)
    await away.close()


@postgresql_only
async def test_postgresql_that_comes_back_is_used_again(engine: Engine) -> None:
    def suicide(connection: Connection) -> None:
        add(connection)
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(Unavailable):
        await engine.write(suicide)
    assert await engine.write(add) == "a"
    assert await engine.read(count) == 1


@postgresql_only
async def test_a_connection_that_died_while_idle_costs_one_answer_at_most(
    engine: Engine, database: str
) -> None:
    await engine.write(add, "one")
    other = open_engine(database)
    others = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await other.read(lambda c: c.execute(text(others)).all())
    await other.close()
    try:
        await engine.write(add, "two")
    except Unavailable:
        await engine.write(add, "two")
    assert await engine.read(count) == 2


@sqlite_only
async def test_a_full_disk_is_unavailable_until_there_is_room(engine: Engine) -> None:
    def fill(connection: Connection) -> None:
        connection.execute(text("PRAGMA max_page_count=1"))  # no less than it has already
        connection.execute(text("CREATE TABLE more (a)"))

    with pytest.raises(Unavailable):
        await engine.write(fill)
    room = "PRAGMA max_page_count=1000000"
    await engine.write(lambda c: c.execute(text(room)).all())
    assert await engine.write(add) == "a"


@sqlite_only
async def test_a_file_that_somebody_locks_is_unavailable_until_they_let_go(
    engine: Engine, database: str
) -> None:
    path = database.partition("///")[2]
    patience = "PRAGMA busy_timeout=20"
    await engine.write(lambda c: c.execute(text(patience)).all())
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            await engine.write(add)
        assert await engine.read(count) == 0
        holder.execute("COMMIT")
    assert await engine.write(add) == "a"


async def test_a_place_where_no_file_can_be_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    away = open_engine(f"sqlite:///{tmp_path / 'folder.db'}")
    with pytest.raises(Unavailable):
        await away.write(count)
    await away.close()


@sqlite_only
async def test_sqlite_is_as_safe_as_it_can_be(engine: Engine) -> None:
    def pragmas(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        return [connection.execute(text(f"PRAGMA {name}")).scalar() for name in names]

    assert await engine.write(pragmas) == await engine.read(pragmas) == ["wal", 2, 1, 1]


@pytest.mark.parametrize(
    ("url", "driven"),
    [
        ("postgres://a:b@h/d", "postgresql+asyncpg://a:b@h/d"),
        ("postgresql://a@h:1/d", "postgresql+asyncpg://a@h:1/d"),
        ("postgresql+psycopg://h/d", "postgresql+asyncpg://h/d"),
        ("postgresql://h/d?sslmode=require", "postgresql+asyncpg://h/d?ssl=require"),
    ],
)
def test_the_driver_is_ours(url: str, driven: str) -> None:
    assert asyncpg_url(url).render_as_string(hide_password=False) == driven


async def test_a_read_is_one_snapshot(engine: Engine) -> None:
    """Otherwise `consent verify` would see half of what commits meanwhile."""
    loop = asyncio.get_running_loop()

    async def commit() -> None:
        await engine.write(add)

    def look(connection: Connection) -> tuple[int, int]:
        before = count(connection)
        if engine.dialect == "sqlite":  # in a thread of its own
            asyncio.run_coroutine_threadsafe(commit(), loop).result(10)
        else:
            await_only(commit())
        return before, count(connection)

    assert await engine.read(look) == (0, 0)
    assert await engine.read(count) == 1


@postgresql_only
async def test_a_server_that_was_demoted_is_away_until_it_takes_writes_again(
    engine: Engine, database: str
) -> None:
    name = asyncpg_url(database).database
    await engine.write(add, name="before")

    def demote(connection: Connection, is_standby: str) -> None:
        connection.execute(
            text(f'ALTER DATABASE "{name}" SET default_transaction_read_only={is_standby}')
        )

    await engine.write(demote, "on")
    await engine.close()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await engine.write(add, name="during")
    other = open_engine(database.replace(f"/{name}", "/postgres"))
    await other.write(demote, "off")
    await other.close()
    await engine.write(add, name="after")
    assert await engine.read(count) == 2
