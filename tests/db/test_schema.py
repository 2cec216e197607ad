from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from app.db import schema, tables
from app.db.engine import Engine, open_engine

pytestmark = pytest.mark.anyio

TRIGGERS = {
    "sqlite": {
        "consent_events_append_only",
        "consent_events_no_delete",
        "consent_events_no_replace",
    },
    "postgresql": {"consent_events_append_only", "consent_events_no_truncate"},
}


def triggers(connection: Connection) -> set[str]:
    names = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'O'",
    }
    return set(connection.scalars(text(names[connection.dialect.name])))


def table_names(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


async def test_the_schema_goes_up_and_down_and_up_and_keeps_its_guards(engine: Engine) -> None:
    assert await engine.read(schema.is_current)
    await engine.write(schema.downgrade, "base")
    assert not await engine.read(schema.is_current)
    assert await engine.read(table_names) == await engine.read(triggers) == set()
    await engine.write(schema.upgrade)
    assert await engine.read(schema.is_current)
    assert await engine.read(table_names) == set(tables.metadata.tables)
    assert await engine.read(triggers) == TRIGGERS[engine.dialect]


@pytest.mark.usefixtures("engine")
async def test_going_down_leaves_no_function_behind(engine: Engine) -> None:
    if engine.dialect != "postgresql":
        return
    await engine.write(schema.downgrade, "base")
    found = await engine.read(
        lambda c: c.scalar(text("SELECT count(*) FROM pg_proc WHERE proname LIKE 'consent%'"))
    )
    assert found == 0


async def test_the_migrations_make_the_tables_that_are_declared(engine: Engine) -> None:
    def differences(connection: Connection) -> list[object]:
        defaults = connection.dialect.name == "postgresql"  # an identity is none on SQLite
        options = {"compare_type": True, "compare_server_default": defaults}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, tables.metadata))

    assert await engine.read(differences) == []


async def test_migrating_again_changes_nothing(engine: Engine) -> None:
    await engine.write(schema.upgrade)
    assert await engine.read(schema.is_current)


async def test_an_empty_database_is_not_current(tmp_path: Path) -> None:
    empty = open_engine(f"sqlite:///{tmp_path / 'deep' / 'empty.db'}")
    assert not await empty.read(schema.is_current)
    await empty.close()


@pytest.mark.parametrize(
    "url", ["", "mysql://localhost/a", "sqlite://", "nonsense", "sqlite:///", "postgresql"]
)
def test_another_database_is_refused_in_words(url: str) -> None:
    with pytest.raises(ValueError, match="DATABASE_URL must"):
        open_engine(url)
