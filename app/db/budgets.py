"""Mail budgets: locked before anything else, so that one address is counted by one at a time."""

from collections.abc import Collection, Iterable
from dataclasses import fields

from sqlalchemy import ARRAY, Connection, Executable, bindparam, func, literal, select
from sqlalchemy.dialects import postgresql

from app.db import bulk
from app.db.tables import mail_budgets as t
from app.domain.budget import Budget

Key = tuple[str, str]

_NAMES = tuple(field.name for field in fields(Budget))

_ALL = tuple(t.c[name] for name in _NAMES)


def _lock_statement() -> Executable:
    keys = func.unnest(
        bindparam("hashes", type_=ARRAY(t.c.hash.type)),
        bindparam("newsletters", type_=ARRAY(t.c.newsletter.type)),
    )
    rows = keys.table_valued("hash", "newsletter", name="keys").render_derived()
    zero = literal(0)
    insert = postgresql.insert(t).from_select(
        ["hash", "newsletter", "count", "refused"],
        select(rows.c.hash, rows.c.newsletter, zero, zero),
    )
    # An update that changes nothing: it locks the row, and RETURNING then shows it.
    kept = insert.on_conflict_do_update(
        index_elements=["hash", "newsletter"], set_={"count": t.c.count}
    )
    return kept.returning(*_ALL)


_LOCK = _lock_statement()


def lock(connection: Connection, keys: Collection[Key]) -> dict[Key, Budget]:
    """Return the budget of each (hash, newsletter), locked until the transaction ends.

    Rows are locked in the order of their keys, so two processes cannot deadlock.
    """
    ordered = sorted(set(keys))
    if not ordered:
        return {}
    if connection.dialect.name == "postgresql":
        hashes, newsletters = zip(*ordered, strict=True)
        values = {"hashes": list(hashes), "newsletters": list(newsletters)}
        found = connection.execute(_LOCK, values).all()
    else:  # the one writer of SQLite needs no lock
        # By hash alone: SQLite searches no index for a list of pairs.
        statement = select(*_ALL).where(t.c.hash.in_({key[0] for key in ordered}))
        found = connection.execute(statement).all()
    budgets = {(row.hash, row.newsletter): Budget(*row) for row in found}
    return {key: budgets.get(key) or Budget(*key) for key in ordered}


def save(connection: Connection, budgets: Iterable[Budget]) -> None:
    """Write the budgets back."""
    rows = [{name: getattr(budget, name) for name in _NAMES} for budget in budgets]
    bulk.insert(connection, t, rows, on_conflict="update")
