"""The schema's version: brought up to date under a lock, and compared."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

_LOCK = 7_236_401
_INI = Path(__file__).resolve().parents[2] / "alembic.ini"


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Migrate forward; whoever else migrates at the same time waits and then finds it done."""
    _lock(connection)
    command.upgrade(_config(connection), revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Migrate back."""
    _lock(connection)
    command.downgrade(_config(connection), revision)


def is_current(connection: Connection) -> bool:
    """Tell whether every migration has been applied."""
    context = MigrationContext.configure(connection)
    return set(context.get_current_heads()) == _newest()


@cache
def _newest() -> set[str]:
    """Return the newest revisions in the folder, which is read once."""
    return set(ScriptDirectory.from_config(Config(_INI)).get_heads())


def _config(connection: Connection) -> Config:
    config = Config(_INI)
    config.attributes["connection"] = connection
    return config


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
