"""The one async border: `write` and `read` run a plain function in one transaction."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar
from uuid import uuid4

import sqlalchemy
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.db import outages

P = ParamSpec("P")
R = TypeVar("R")

_NO_URL = "DATABASE_URL must start with postgresql:// or be sqlite:///path"
_READERS = 4
_GOODBYE_SECONDS = 2.0
_WRITERS = 4
_CONNECT_SECONDS = 10
_BUSY_SECONDS = 10


class Engine(Protocol):
    """A database: PostgreSQL or SQLite."""

    dialect: str

    async def write(
        self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run `work(connection, ...)` in one transaction and commit it before returning.

        Raises Unavailable if the database is away; then nothing is known to be committed.
        """
        ...

    async def write_one(
        self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run work that is a single statement, which is a transaction by itself.

        On PostgreSQL this saves BEGIN and COMMIT, two round trips of three. Raises as `write`.
        """
        ...

    async def read(
        self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run `work(connection, ...)` in one transaction that may not write."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


def open_engine(url: str, *, pooler: bool = False) -> Engine:
    """Open `postgresql://...` or `sqlite:///path`.

    `pooler`: a transaction pooler stands between, so nothing may be kept on a connection.
    Raises ValueError on any other URL.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(_NO_URL) from None
    if parsed.get_backend_name() in {"postgres", "postgresql"}:
        return PostgresEngine(parsed, pooler=pooler)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        return SqliteEngine(Path(parsed.database))
    raise ValueError(_NO_URL)


class PostgresEngine:
    """PostgreSQL through asyncpg."""

    dialect = "postgresql"

    def __init__(self, url: URL, *, pooler: bool) -> None:
        """Prepare a pool; nothing is connected yet."""
        self._engine = _postgres_engine(url, pooler=pooler)
        # One snapshot for all statements of a read: a proof must not see half of a change.
        self._reader = self._engine.execution_options(
            postgresql_readonly=True, isolation_level="REPEATABLE READ"
        )
        self._single = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        # The pool does not tell its waiters that a connection could not be made; these do, and
        # slow reads leave connections for the door and the worker.
        self._writing = asyncio.Semaphore(_WRITERS)
        self._reading = asyncio.Semaphore(_READERS)

    async def write(
        self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """See Engine."""
        async with _turn(self._writing), self._engine.begin() as connection:
            return await connection.run_sync(work, *args, **kwargs)

    async def write_one(
        self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """See Engine."""
        async with _turn(self._writing), self._single.begin() as connection:
            return await connection.run_sync(work, *args, **kwargs)

    async def read(
        self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """See Engine."""
        async with _turn(self._reading), self._reader.begin() as connection:
            return await connection.run_sync(work, *args, **kwargs)

    async def close(self) -> None:
        """See Engine."""
        with contextlib.suppress(TimeoutError):  # a database that hangs hears no goodbye
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._engine.dispose()


class SqliteEngine:
    """One file: one writer thread, a few reader threads, the standard driver."""

    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        """Make the folder and prepare the threads; nothing is opened yet."""
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._writer = _sqlite_engine(path, begin="BEGIN IMMEDIATE", readers=0)
        self._reader = _sqlite_engine(path, begin="BEGIN", readers=_READERS)
        self._writing = ThreadPoolExecutor(1, "sqlite-write")
        self._reading = ThreadPoolExecutor(_READERS, "sqlite-read")

    async def write(
        self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """See Engine."""
        loop = asyncio.get_running_loop()
        job = _in_transaction(self._writer, work, *args, **kwargs)
        return await loop.run_in_executor(self._writing, job)

    write_one = write

    async def read(
        self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """See Engine."""
        loop = asyncio.get_running_loop()
        job = _in_transaction(self._reader, work, *args, **kwargs)
        return await loop.run_in_executor(self._reading, job)

    async def close(self) -> None:
        """See Engine."""
        for executor in (self._writing, self._reading):
            await asyncio.to_thread(executor.shutdown)
        for engine in (self._writer, self._reader):
            engine.dispose()


def _in_transaction(
    engine: sqlalchemy.Engine,
    work: Callable[Concatenate[Connection, P], R],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Callable[[], R]:
    def job() -> R:
        with outages.as_unavailable(), engine.begin() as connection:
            return work(connection, *args, **kwargs)

    return job


def asyncpg_url(url: str) -> URL:
    """Return the URL with our driver; libpq's `sslmode` becomes asyncpg's `ssl`.

    Raises ValueError for a parameter that asyncpg would not understand.
    """
    parsed = make_url(url).set(drivername="postgresql+asyncpg")
    unknown = sorted(set(parsed.query) - {"host", "port", "sslmode"})
    if unknown:
        raise ValueError(f"DATABASE_URL: remove {', '.join(unknown)}; only sslmode is understood")
    if "sslmode" in parsed.query:
        mode = parsed.query["sslmode"]
        parsed = parsed.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return parsed


def _postgres_engine(url: URL, *, pooler: bool) -> AsyncEngine:
    arguments: dict[str, Any] = {"timeout": _CONNECT_SECONDS, "command_timeout": 60}
    if pooler:
        arguments |= {
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: f"nl_{uuid4().hex}",
        }
    else:
        # Plans made while the tables were empty turn into sequential scans as they grow.
        arguments["server_settings"] = {"plan_cache_mode": "force_custom_plan", "jit": "off"}
    engine = create_async_engine(
        asyncpg_url(url.render_as_string(hide_password=False)),
        connect_args=arguments,
        hide_parameters=True,
        pool_size=_WRITERS + _READERS,
        max_overflow=0,
        pool_timeout=_CONNECT_SECONDS,
    )

    @event.listens_for(engine.sync_engine, "handle_error")
    def demoted(context: ExceptionContext) -> None:
        """Leave a server that has become a standby; the name may lead to the new primary."""
        if outages.is_demoted(context.original_exception):
            context.is_disconnect = True

    return engine


def _sqlite_engine(path: Path, *, begin: str, readers: int) -> sqlalchemy.Engine:
    engine = sqlalchemy.create_engine(
        f"sqlite:///{path}",
        connect_args={"check_same_thread": False, "timeout": _BUSY_SECONDS},
        hide_parameters=True,
        pool_size=max(readers, 1),
        max_overflow=0,
    )
    opening = threading.Lock()

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself: we do
        connection.text_factory = _text
        with opening:
            for pragma in _pragmas(read_only=readers > 0):
                connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _text(stored: bytes) -> str:
    """Read text even if somebody has put bytes there that are none, so that verify can name it."""
    return stored.decode(errors="replace")


def _pragmas(*, read_only: bool) -> tuple[str, ...]:
    common = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON")
    return (*common, "query_only=ON") if read_only else common


@contextlib.asynccontextmanager
async def _turn(places: asyncio.Semaphore) -> AsyncIterator[None]:
    """Hold a place while inside; what fails because the database is away is Unavailable."""
    with outages.as_unavailable():
        async with asyncio.timeout(_CONNECT_SECONDS):
            await places.acquire()
        try:
            yield
        finally:
            places.release()
