import hashlib
from datetime import timedelta
from typing import Any

import pytest

from app.db import keys as rows
from app.db import tables
from app.db.engine import Engine
from app.domain.errors import Forbidden, Invalid, NotFound, Unauthenticated
from app.services import keys
from app.services.keys import Key, Scope, Wish
from tests.conftest import Clock, Make
from tests.services.people import Door

pytestmark = pytest.mark.anyio


async def make(engine: Engine, clock: Clock, **wish: Any) -> str:  # noqa: ANN401 - any part of it
    values = {"name": "ci", "scopes": [Scope.SUBSCRIBERS_READ], **wish}
    return await engine.write(keys.create, Wish(**values), clock.now)


async def test_a_key_opens_and_only_its_hash_is_kept(
    engine: Engine, clock: Clock, door: Door
) -> None:
    key = await make(engine, clock)
    found = await engine.read(keys.check, key, clock.now)
    assert found.scopes == {"subscribers:read"}
    [row] = await door.rows(tables.api_keys)
    assert row["hash"] == hashlib.sha256(key.encode()).hexdigest()
    prefix, key_id, secret = key.split("_", 2)
    assert (prefix, key_id) == ("nl", row["id"])
    assert len(secret) >= 43
    assert secret not in str(row)


async def test_no_two_keys_are_alike(engine: Engine, clock: Clock) -> None:
    assert len({await make(engine, clock) for _ in range(5)}) == 5


async def test_what_is_not_the_key_does_not_open(engine: Engine, clock: Clock) -> None:
    key = await make(engine, clock)
    _, key_id, secret = key.split("_", 2)
    last = "a" if key[-1] != "a" else "b"
    for forged in (
        "",
        "nl_",
        "nl__",
        f"nl_{key_id}",
        f"nl_{key_id}_",
        f"nl_0{key_id}_{secret}",
        f"xx_{key_id}_{secret}",
        key[:-1],
        key[:-1] + last,
        key + "x",
        key + "é",
        key.upper(),
    ):
        with pytest.raises(Unauthenticated):
            await engine.read(keys.check, forged, clock.now)


@pytest.mark.parametrize(("seconds", "opens"), [(-1, True), (0, False), (1, False)])
async def test_a_key_ends_when_it_was_told_to(
    engine: Engine, clock: Clock, seconds: int, *, opens: bool
) -> None:
    end = clock.now + timedelta(days=1)
    key = await make(engine, clock, expires_at=end)
    now = end + timedelta(seconds=seconds)
    if opens:
        assert await engine.read(keys.check, key, now)
    else:
        with pytest.raises(Unauthenticated):
            await engine.read(keys.check, key, now)


async def test_a_revoked_key_is_closed_at_once_and_stays_on_the_list(
    engine: Engine, clock: Clock
) -> None:
    key, other = await make(engine, clock), await make(engine, clock)
    await engine.write(keys.revoke, key.split("_")[1], clock.now)
    with pytest.raises(Unauthenticated):
        await engine.read(keys.check, key, clock.now)
    assert await engine.read(keys.check, other, clock.now)
    assert len(await engine.read(rows.read_all)) == 2


async def test_a_key_is_revoked_once(engine: Engine, clock: Clock) -> None:
    key_id = (await make(engine, clock)).split("_")[1]
    await engine.write(keys.revoke, key_id, clock.now)
    for gone in (key_id, "nothing"):
        with pytest.raises(NotFound):
            await engine.write(keys.revoke, gone, clock.now)


@pytest.mark.parametrize(
    ("scopes", "asked", "allowed"),
    [
        ([Scope.SUBSCRIBERS_READ], Scope.SUBSCRIBERS_READ, True),
        ([Scope.SUBSCRIBERS_READ], Scope.SUBSCRIBERS_WRITE, False),
        ([Scope.SUBSCRIBERS_READ], Scope.ADMIN, False),
        ([Scope.SUBSCRIBERS_READ], None, True),
        ([Scope.ISSUES_SEND, Scope.ISSUES_WRITE], Scope.ISSUES_WRITE, True),
        ([Scope.ADMIN], Scope.ISSUES_SEND, True),
        ([Scope.ADMIN], Scope.ADMIN, True),
    ],
)
def test_a_key_may_do_what_its_scopes_say(
    scopes: list[Scope], asked: Scope | None, *, allowed: bool
) -> None:
    found = Key("a", frozenset(scopes), None, is_stale=False)
    if allowed:
        found.require(asked)
    else:
        with pytest.raises(Forbidden):
            found.require(asked)


async def test_a_key_may_be_limited_to_one_newsletter(
    engine: Engine, clock: Clock, newsletter: Make
) -> None:
    await newsletter("insights")
    found = await engine.read(
        keys.check, await make(engine, clock, newsletter="insights"), clock.now
    )
    found.require_newsletter("insights")
    for other in ("offers", None):
        with pytest.raises(Forbidden):
            found.require_newsletter(other)


def test_a_key_without_a_limit_may_touch_every_newsletter() -> None:
    Key("a", frozenset(), None, is_stale=False).require_newsletter("anything")


@pytest.mark.parametrize("wish", [{"scopes": []}, {"newsletter": "nothing"}])
async def test_a_key_that_could_do_nothing_is_not_made(
    engine: Engine, clock: Clock, door: Door, wish: dict[str, Any]
) -> None:
    with pytest.raises(Invalid):
        await make(engine, clock, **wish)
    assert await door.rows(tables.api_keys) == []


async def test_the_last_use_is_written_once_a_minute(engine: Engine, clock: Clock) -> None:
    key = await make(engine, clock)
    first = await engine.read(keys.check, key, clock.now)
    await engine.write(rows.touch, first.id, clock.now)
    assert (first.is_stale, await is_stale(engine, key, clock)) == (True, False)
    clock.advance(seconds=60)
    assert await is_stale(engine, key, clock)


async def is_stale(engine: Engine, key: str, clock: Clock) -> bool:
    return (await engine.read(keys.check, key, clock.now)).is_stale
