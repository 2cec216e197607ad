"""The database as commands use it: opened for one transaction, and closed again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from app.db.engine import Engine
from app.domain.errors import Unavailable, Unmigrated
from app.main import engine_of
from app.settings import Settings, SettingsError

P = ParamSpec("P")
R = TypeVar("R")


class DatabaseAway(SettingsError):
    """The database cannot be reached; says why, as only the one at the command line may know."""


def write(
    settings: Settings,
    work: Callable[Concatenate[Connection, P], R],
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    """Run the work in one transaction. Raises SettingsError if there is no such database."""

    async def run() -> R:
        async with _opened(settings) as engine:
            return await engine.write(work, *args, **kwargs)

    with _told():
        return asyncio.run(run())


def read(
    settings: Settings,
    work: Callable[Concatenate[Connection, P], R],
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    """Run the work on one snapshot; nobody has to wait for it. Raises as `write` does."""

    async def run() -> R:
        async with _opened(settings) as engine:
            return await engine.read(work, *args, **kwargs)

    with _told():
        return asyncio.run(run())


@contextlib.asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Engine]:
    engine = engine_of(settings)
    try:
        yield engine
    finally:
        await engine.close()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except Unmigrated as error:
        raise SettingsError("the database has no tables yet: run newsletter migrate") from error
    except Unavailable as error:
        cause = error.__cause__
        reason = cause.orig if isinstance(cause, DBAPIError) else cause
        raise DatabaseAway(f"the database is away: {reason or 'no answer'}") from error
    except DBAPIError as error:
        raise SettingsError(f"the database says: {error.orig}") from error
