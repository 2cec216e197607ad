"""The database itself refuses to change the record, whoever asks."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from app.db import consents
from app.db.engine import Engine
from app.db.tables import consent_events as t
from app.domain import consent
from app.domain.consent import NO_EVENTS, PERSONAL, Act, Place
from app.domain.subscription import Kind

pytestmark = pytest.mark.anyio

WHO = UUID("01940000-0000-7000-8000-000000000001")
EVENT = consent.record(
    Act(
        kind=Kind.REQUESTED,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        newsletter="insights",
        method="form",
        policy_version="1",
        wording="w",
        locale="en",
        actor="a",
        confirms=7,
        address="ann@example.org",
        page_url="https://example.org",
        ip="192.0.2.1",
        user_agent="Mozilla",
        evidence="paper",
    ),
    Place(WHO, WHO, 1, NO_EVENTS),
    bytes(range(80)),
)
OTHER: dict[type, Any] = {str: "x", int: 99, datetime: datetime(2020, 1, 1, tzinfo=UTC)}
CLEARABLE = [f"{name}{end}" for name in PERSONAL for end in ("", "_salt")]

sqlite_only = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
postgresql_only = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture(autouse=True)
async def event(engine: Engine) -> None:
    await engine.write(consents.append, [EVENT])


async def stored(engine: Engine) -> Sequence[Any]:
    return await engine.read(lambda c: c.execute(select(t)).all())


async def refused(engine: Engine, statement: Any, *rows: Any) -> None:  # noqa: ANN401 - any SQL
    before = await stored(engine)
    with pytest.raises(IntegrityError, match=r"append-only|UNIQUE|unique"):
        await engine.write(lambda c: c.execute(statement, *rows))
    assert await stored(engine) == before


async def test_an_event_cannot_be_deleted(engine: Engine) -> None:
    await refused(engine, delete(t))


@postgresql_only
async def test_the_record_cannot_be_truncated(engine: Engine) -> None:
    await refused(engine, text("TRUNCATE consent_events"))


async def test_no_column_can_be_given_another_value(engine: Engine) -> None:
    for column in t.c:
        value = 99 if column is t.c.id else EVENT[column.name]
        other = OTHER.get(type(value), b"x" * 16 if isinstance(value, bytes) else UUID(int=1))
        await refused(engine, update(t).values({column.name: other}))


async def test_nothing_but_personal_values_can_be_emptied(engine: Engine) -> None:
    for column in t.c:
        if column.nullable and column.name not in CLEARABLE:
            await refused(engine, update(t).values({column.name: None}))


async def test_personal_values_and_their_salts_can_go_one_by_one(engine: Engine) -> None:
    for name in CLEARABLE:
        await engine.write(lambda c, n=name: c.execute(update(t).values({n: None})))  # type: ignore[misc]
    [row] = await stored(engine)
    assert {getattr(row, name) for name in CLEARABLE} == {None}
    assert row.hash == EVENT["hash"]


async def test_what_is_gone_cannot_come_back(engine: Engine) -> None:
    await engine.write(consents.redact, {WHO})
    await refused(engine, update(t).values(address="ann@example.org"))
    await refused(engine, update(t).values(address_salt=EVENT["address_salt"]))


async def test_redaction_cannot_hide_another_change(engine: Engine) -> None:
    await refused(engine, update(t).values(address=None, address_salt=None, method="page"))


async def test_a_sequence_number_is_given_once(engine: Engine) -> None:
    await refused(engine, insert(t), {**EVENT, "method": "page"})


@pytest.mark.parametrize("key", [["id"], ["subscription_id", "sequence"]])
async def test_an_upsert_cannot_rewrite(engine: Engine, key: list[str]) -> None:
    [row] = await stored(engine)
    make = postgresql.insert if engine.dialect == "postgresql" else sqlite.insert
    forged = {**EVENT, "id": row.id, "method": "page"}
    statement = make(t).on_conflict_do_update(index_elements=key, set_={"method": "page"})
    await refused(engine, statement, forged)


@sqlite_only
@pytest.mark.parametrize("same", [["id"], ["subscription_id", "sequence"]])
async def test_insert_or_replace_cannot_rewrite(engine: Engine, same: list[str]) -> None:
    [row] = await stored(engine)
    fresh = {"id": 99, "subscription_id": UUID(int=1), "sequence": 99}
    forged = {**EVENT, **fresh, **{name: getattr(row, name) for name in same}}
    await refused(engine, insert(t).prefix_with("OR REPLACE"), forged)


@sqlite_only
async def test_update_or_replace_cannot_swallow_another_event(engine: Engine) -> None:
    second = {**EVENT, "sequence": 2, "previous_hash": EVENT["hash"]}
    await engine.write(consents.append, [second])
    first = update(t).prefix_with("OR REPLACE").where(t.c.sequence == 1)
    await refused(engine, first.values(sequence=2))
    await refused(engine, first.values(id=2))


@sqlite_only
async def test_the_guards_hold_on_a_connection_without_any_pragma(engine: Engine) -> None:
    def careless(connection: Connection) -> None:
        connection.execute(text("PRAGMA recursive_triggers=OFF"))
        connection.execute(insert(t).prefix_with("OR REPLACE"), {**EVENT, "method": "page"})

    with pytest.raises(IntegrityError, match="append-only"):
        await engine.write(careless)
    assert await engine.read(lambda c: c.scalar(select(func.count()).select_from(t))) == 1
