from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.db import bulk, tables
from app.db.engine import Engine

pytestmark = pytest.mark.anyio

BUDGETS = tables.mail_budgets
AT = datetime(2026, 1, 1, tzinfo=UTC)


def row(name: str, count: int, **values: Any) -> dict[str, Any]:  # noqa: ANN401 - any column
    fixed = {"hash": name, "newsletter": "n", "count": count, "refused": 0}
    return {**fixed, "last_at": None, **values}


async def stored(engine: Engine) -> dict[str, Any]:
    statement = select(BUDGETS.c.hash, BUDGETS.c.count, BUDGETS.c.last_at)
    rows = await engine.read(lambda c: c.execute(statement).all())
    return {found.hash: (found.count, found.last_at) for found in rows}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("skip", {"a": (1, AT), "b": (2, None), "c": (9, AT)}),
        ("update", {"a": (8, None), "b": (2, None), "c": (9, AT)}),
    ],
)
async def test_a_conflict_is_skipped_or_updated(
    engine: Engine, mode: str, expected: dict[str, Any]
) -> None:
    await engine.write(bulk.insert, BUDGETS, [row("a", 1, last_at=AT), row("b", 2)])
    again = [row("a", 8), row("c", 9, last_at=AT)]
    await engine.write(bulk.insert, BUDGETS, again, on_conflict=mode)
    assert await stored(engine) == expected


async def test_what_is_new_is_told_from_what_was_there(engine: Engine) -> None:
    await engine.write(bulk.insert, BUDGETS, [row("b", 2)])
    again = [row("a", 8), row("b", 9), row("c", 9), row("a", 1)]
    new = await engine.write(bulk.insert_new, BUDGETS, again)
    assert sorted(new) == [("a", "n"), ("c", "n")]
    assert await stored(engine) == {"a": (8, None), "b": (2, None), "c": (9, None)}
    assert await engine.write(bulk.insert_new, BUDGETS, []) == []


async def test_a_conflict_fails_if_nothing_else_is_said_and_writes_nothing(engine: Engine) -> None:
    await engine.write(bulk.insert, BUDGETS, [row("a", 1)])
    with pytest.raises(IntegrityError):
        await engine.write(bulk.insert, BUDGETS, [row("b", 2), row("a", 3)])
    assert await stored(engine) == {"a": (1, None)}


async def test_columns_that_are_not_given_are_not_touched(engine: Engine) -> None:
    await engine.write(bulk.insert, BUDGETS, [row("a", 1, last_at=AT)])
    without = {name: value for name, value in row("a", 5).items() if name != "last_at"}
    await engine.write(bulk.insert, BUDGETS, [without], on_conflict="update")
    assert await stored(engine) == {"a": (5, AT)}


async def test_no_rows_are_no_statement(engine: Engine) -> None:
    await engine.write(bulk.insert, BUDGETS, [])
    assert await stored(engine) == {}


async def test_thousands_of_rows_fit_and_are_found_again(engine: Engine) -> None:
    names = [f"{number:05}" for number in range(5_000)]
    await engine.write(bulk.insert, BUDGETS, [row(name, 1) for name in names])
    wanted = names[::2]
    found = await engine.read(
        lambda c: c.scalars(
            select(BUDGETS.c.hash).where(bulk.any_of(c, BUDGETS.c.hash, wanted))
        ).all()
    )
    assert sorted(found) == wanted


async def test_every_type_of_column_comes_back_as_it_went(engine: Engine) -> None:
    table = tables.consent_events
    texts = {c.name: f"{c.name} 'ß' \U0001f469" for c in table.c if str(c.type) == "TEXT"}
    event: dict[str, Any] = {
        **texts,
        "subscription_id": UUID(int=1),
        "subscriber_id": UUID(int=2**128 - 1),
        "sequence": 1,
        "generation": 2**31 - 1,
        "confirms": None,
        "format": 1,
        "at": AT.replace(microsecond=1),
        **{c.name: bytes(range(16)) for c in table.c if c.name.endswith("_salt")},
    }
    await engine.write(bulk.insert, table, [event, {**event, "sequence": 2, "ip": None}])
    first, second = await engine.read(
        lambda c: c.execute(select(table).order_by(table.c.sequence)).mappings().all()
    )
    assert {**first, "id": 0} == {**event, "id": 0}
    assert second["ip"] is None
