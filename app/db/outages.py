"""Which failures mean that the database is away, and not that we have asked it something wrong."""

import contextlib
from collections.abc import Iterator

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.domain.errors import Unavailable, Unmigrated

_AWAY_SQLSTATES = ("08", "53", "57", "28", "3D", "55000")
"""PostgreSQL's classes: connection exception, insufficient resources, operator intervention;
and what only connecting meets: authorization, no such database, one that takes no connections."""
_READ_ONLY = "25006"
_MISSING = {"42P01", "42703"}
"""PostgreSQL's codes for an undefined table and an undefined column."""
_AWAY_SQLITE = {"BUSY", "LOCKED", "FULL", "IOERR", "CANTOPEN", "READONLY", "NOMEM", "PROTOCOL"}


def is_demoted(error: BaseException) -> bool:
    """Tell whether the server takes no writes any more: it has become a standby."""
    return getattr(error, "sqlstate", None) == _READ_ONLY


@contextlib.contextmanager
def as_unavailable() -> Iterator[None]:
    """Raise Unavailable for what fails because the database is away; all else as it is."""
    try:
        yield
    except DBAPIError as error:
        if _is_unmigrated(error):
            raise Unmigrated("Migrations are pending: run newsletter migrate.") from error
        if _is_away(error):
            raise Unavailable("The database is away. Try again in a moment.") from error
        raise
    except (TimeoutError, PoolTimeout, OSError) as error:
        raise Unavailable("The database is away. Try again in a moment.") from error


def _is_unmigrated(error: DBAPIError) -> bool:
    """Tell whether a table or column is missing: every statement of ours names only what is."""
    if str(error.orig).startswith(("no such table", "no such column")):
        return True
    return getattr(error.orig, "sqlstate", None) in _MISSING


def _is_away(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    name = getattr(error.orig, "sqlite_errorname", None)
    if name is not None:
        return any(name.startswith(f"SQLITE_{away}") for away in _AWAY_SQLITE)
    state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    if state is None:
        return isinstance(error, InterfaceError | OperationalError)
    return str(state).startswith(_AWAY_SQLSTATES)
