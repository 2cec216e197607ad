"""Many rows in one statement: arrays through `unnest` on PostgreSQL, executemany on SQLite."""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
    Row,
    Table,
    bindparam,
    func,
    select,
)
from sqlalchemy import any_ as any_element
from sqlalchemy.dialects import postgresql, sqlite

Rows = Sequence[Mapping[str, Any]]
_Insert = postgresql.Insert | sqlite.Insert


def insert(connection: Connection, table: Table, rows: Rows, *, on_conflict: str = "fail") -> None:
    """Insert rows that all have the same columns.

    `on_conflict` with the primary key: `fail` (IntegrityError), `skip`, or `update` the rest.
    """
    if not rows:
        return
    columns = tuple(rows[0])
    if connection.dialect.name == "postgresql":
        arrays = {name: [row[name] for row in rows] for name in columns}
        connection.execute(_insert_arrays(table, columns, on_conflict), arrays)
    else:
        connection.execute(_insert_values(table, on_conflict, columns), list(rows))


def insert_new(connection: Connection, table: Table, rows: Rows) -> Sequence[Row[Any]]:
    """Insert rows whose primary key is not there yet; return the keys of those.

    Where two processes insert the same, the second waits for the first and then has nothing new.
    """
    if not rows:
        return []
    columns, keys = tuple(rows[0]), table.primary_key.columns
    if connection.dialect.name == "postgresql":
        arrays = {name: [row[name] for row in rows] for name in columns}
        statement = _insert_arrays(table, columns, "skip").returning(*keys)
        return connection.execute(statement, arrays).all()
    statement = _insert_values(table, "skip", columns).returning(*keys)
    return [row for values in rows for row in connection.execute(statement, values)]


def any_of(
    connection: Connection, column: Column[Any], values: Collection[Any]
) -> ColumnElement[bool]:
    """Return the condition that the column is one of the values, in one parameter if possible."""
    if connection.dialect.name == "postgresql":
        array = bindparam(None, list(values), type_=postgresql.ARRAY(column.type))
        return column == any_element(array)
    return column.in_(list(values))


@lru_cache(maxsize=64)
def _insert_arrays(table: Table, columns: tuple[str, ...], on_conflict: str) -> _Insert:
    arrays = [bindparam(name, type_=ARRAY(table.c[name].type)) for name in columns]
    rows = func.unnest(*arrays).table_valued(*columns, name="incoming").render_derived()
    statement = postgresql.insert(table).from_select(
        list(columns), select(*(rows.c[name] for name in columns))
    )
    return _resolved(statement, table, columns, on_conflict)


@lru_cache(maxsize=64)
def _insert_values(table: Table, on_conflict: str, columns: tuple[str, ...]) -> _Insert:
    statement = sqlite.insert(table).values({name: bindparam(name) for name in columns})
    return _resolved(statement, table, columns, on_conflict)


def _resolved(
    statement: _Insert,
    table: Table,
    columns: tuple[str, ...],
    on_conflict: str,
) -> _Insert:
    keys = [column.name for column in table.primary_key]
    if on_conflict == "skip":
        return statement.on_conflict_do_nothing(index_elements=keys)
    if on_conflict == "update":
        changed = {name: statement.excluded[name] for name in columns if name not in keys}
        return statement.on_conflict_do_update(index_elements=keys, set_=changed)
    return statement
