import asyncio
import hashlib
from typing import Any

import pytest

from app.db import newsletters as rows
from app.db import policies as policy_rows
from app.db import tables
from app.db.engine import Engine
from app.domain.errors import Conflict, NotFound
from app.services import newsletters, policies
from app.services.catalog import CatalogCache
from tests.conftest import Clock, Make
from tests.services.people import Door

pytestmark = pytest.mark.anyio


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def defaults(engine: Engine) -> list[str]:
    return [n.slug for n in await engine.read(rows.read_all) if n.is_default]


async def test_a_newsletter_needs_only_slug_name_and_sender(engine: Engine, clock: Clock) -> None:
    row = {"slug": "tea", "name": "Tea", "from_address": "tea@example.org"}
    made = await engine.write(newsletters.create, row, clock.now)
    assert (made.promise, made.welcome, made.archive, made.locale) == (
        newsletters.PROMISE,
        False,
        False,
        "en",
    )
    assert made.consent_text == "Yes, please send me “Tea” by e-mail."
    assert made.wording == sha256(made.consent_text)
    assert made == await engine.read(rows.read, "tea")


async def test_a_slug_is_taken_once(newsletter: Make, door: Door) -> None:
    await newsletter("tea", name="First")
    with pytest.raises(Conflict):
        await newsletter("tea", name="Second")
    assert [row["name"] for row in await door.rows(tables.newsletters)] == ["First"]


async def test_a_changed_consent_text_becomes_a_new_wording(
    engine: Engine, clock: Clock, newsletter: Make, door: Door
) -> None:
    await newsletter("tea", consent_text="One.")
    for text in ("Two.", "One.", "Two."):
        await engine.write(newsletters.change, "tea", {"consent_text": text}, clock.now)
    found = await engine.read(rows.read, "tea")
    assert found is not None
    assert found.wording == sha256("Two.")
    wordings = {row["hash"]: row["text"] for row in await door.rows(tables.wordings)}
    assert wordings == {sha256("One."): "One.", sha256("Two."): "Two."}


async def test_other_changes_leave_wording_and_everything_else_alone(
    engine: Engine, clock: Clock, newsletter: Make, door: Door
) -> None:
    await newsletter("tea", consent_text="One.", pitch="Hot.")
    before = await engine.read(rows.read, "tea")
    clock.advance(days=1)
    after = await engine.write(newsletters.change, "tea", {"name": "Green tea"}, clock.now)
    assert (after.name, after.pitch, after.updated_at) == ("Green tea", "Hot.", clock.now)
    assert before is not None
    assert (after.wording, after.created_at) == (before.wording, before.created_at)
    assert len(await door.rows(tables.wordings)) == 1


async def test_what_is_not_there_cannot_change(engine: Engine, clock: Clock) -> None:
    with pytest.raises(NotFound):
        await engine.write(newsletters.change, "nothing", {"name": "x"}, clock.now)


async def test_there_is_one_default_and_it_moves(
    engine: Engine, clock: Clock, newsletter: Make
) -> None:
    await newsletter("one", is_default=True)
    await newsletter("two", is_default=True)
    assert await defaults(engine) == ["two"]
    await engine.write(newsletters.change, "one", {"is_default": True}, clock.now)
    assert await defaults(engine) == ["one"]
    await engine.write(newsletters.change, "one", {"is_default": True, "name": "x"}, clock.now)
    assert await defaults(engine) == ["one"]
    await engine.write(newsletters.change, "one", {"is_default": False}, clock.now)
    assert await defaults(engine) == []


async def test_a_default_that_cannot_be_made_leaves_the_old_one(
    engine: Engine, newsletter: Make
) -> None:
    await newsletter("one", is_default=True)
    await newsletter("two")
    with pytest.raises(Conflict):
        await newsletter("two", is_default=True)
    assert await defaults(engine) == ["one"]


async def test_a_policy_is_published_once_and_the_newest_is_current(
    engine: Engine, clock: Clock, policy: Make
) -> None:
    # The clock of another host may be behind: the newest is the last that was published.
    await policy("b")
    clock.advance(days=-1)
    await policy("a")
    current = await engine.read(policy_rows.current)
    assert current is not None
    assert (current["version"], current["sha256"]) == ("a", sha256("The text of a."))
    assert [p.version for p in await engine.read(policy_rows.read_all)] == ["a", "b"]


async def test_a_published_policy_never_changes(
    engine: Engine, clock: Clock, policy: Make, door: Door
) -> None:
    await policy("a")
    with pytest.raises(Conflict):
        await engine.write(policies.publish, "a", "https://example.org", "New.", clock.now)
    assert [row["text"] for row in await door.rows(tables.policies)] == ["The text of a."]


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ("newsletter", lambda c: set(c.newsletters) == {"one", "two"}),
        ("name", lambda c: c.newsletters["one"].name == "New"),
        ("wording", lambda c: len(c.wordings) == 2),
        ("policy", lambda c: [p.version for p in c.policies] == ["b", "a"]),
    ],
)
async def test_every_change_is_seen_by_who_keeps_the_catalog(
    engine: Engine,
    clock: Clock,
    newsletter: Make,
    policy: Make,
    change: str,
    seen: Any,  # noqa: ANN401
) -> None:
    await newsletter("one")
    await policy("a")
    kept = CatalogCache()
    before = await engine.read(kept.current)
    assert await engine.read(kept.current) is before
    match change:
        case "newsletter":
            await newsletter("two")
        case "name":
            await engine.write(newsletters.change, "one", {"name": "New"}, clock.now)
        case "wording":
            await engine.write(newsletters.change, "one", {"consent_text": "New."}, clock.now)
        case _:
            await policy("b")
    assert not seen(before)
    assert seen(await engine.read(kept.current))


async def test_the_catalog_knows_every_origin(engine: Engine, newsletter: Make) -> None:
    await newsletter("one", allowed_origins=["https://a.example"])
    await newsletter("two", allowed_origins=["https://a.example", "https://b.example"])
    catalog = await engine.read(CatalogCache().current)
    assert catalog.origins() == {"https://a.example", "https://b.example"}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_two_that_want_to_be_the_default_at_once_take_turns(
    engine: Engine, newsletter: Make, clock: Clock
) -> None:
    slugs = ["a", "b", "c", "d"]
    for slug in slugs:
        await newsletter(slug)
    for _ in range(5):
        changes = [
            engine.write(newsletters.change, slug, {"is_default": True}, clock.now)
            for slug in slugs
        ]
        await asyncio.gather(*changes)
    assert len(await defaults(engine)) == 1
