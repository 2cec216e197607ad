"""Leaving: no body, no age and no erasure keeps anybody in (RFC 8058)."""

import re
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy.engine import Connection

from app.db import tables
from app.db.engine import Engine
from app.domain.subscription import Why
from app.services.house import House
from app.tokens import Purpose, pack
from tests.conftest import Clock, DeliverAll, SignUp, links_in
from tests.web.answers import html
from tests.web.conftest import Paths, Stored

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]

Rows = Callable[..., Awaitable[list[dict[str, Any]]]]

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
URLENCODED = "application/x-www-form-urlencoded"
PART = b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--'


BODIES = [
    (URLENCODED, b"List-Unsubscribe=One-Click", "one_click"),
    (URLENCODED + "; charset=UTF-8", b"List-Unsubscribe=One-Click", "one_click"),
    (URLENCODED, b"x=1&List-Unsubscribe=One-Click", "one_click"),
    ("multipart/form-data; boundary=b", PART, "one_click"),
    ('Multipart/Form-Data; boundary="b"', PART + b"\r\n", "one_click"),
    (URLENCODED, b"", "page"),
    (URLENCODED, b"List-Unsubscribe=no", "page"),
    (URLENCODED, b"\xff=%ff&%00", "page"),
    (URLENCODED, b"x=1&" * 1_000, "page"),
    (URLENCODED, b"List-Unsubscribe=One-Click&List-Unsubscribe=One-Click", "page"),
    ("multipart/form-data", PART, "page"),
    ("multipart/form-data; boundary=c", PART, "page"),
    ("multipart/form-data; boundary=b", b"garbage", "page"),
    ("application/json", b"{", "page"),
    ("text/plain; charset=nope", b"List-Unsubscribe=One-Click", "page"),
    ("\xff;;=;", b"\x00", "page"),
    ("", b"List-Unsubscribe=One-Click", "page"),
    ("", b"", "page"),
    (URLENCODED, b"x" * 2**20, "page"),
    ("multipart/form-data; boundary=b", b"x" * 2**20, "page"),
]


async def test_no_body_keeps_anybody_in(
    client: httpx.AsyncClient, sign_up: SignUp, paths: Paths, rows: Rows
) -> None:
    for number, (kind, body, _) in enumerate(BODIES):
        await sign_up(f"p{number}@example.org")
        headers = httpx.Headers({"Content-Type": kind} if kind else {}, encoding="latin-1")
        left = await client.post((await paths())["unsubscribe"], content=body, headers=headers)
        assert "You are unsubscribed" in html(left, 200)
        assert "location" not in left.headers
        assert "set-cookie" not in left.headers
    left_by = [e["method"] for e in await rows(tables.consent_events) if e["kind"] == "withdrawn"]
    assert left_by == [method for _, _, method in BODIES]


async def test_one_click_ends_the_subscription_and_its_mail(
    client: httpx.AsyncClient,
    sign_up: SignUp,
    deliver_all: DeliverAll,
    stored: Stored,
    clock: Clock,
) -> None:
    await sign_up()
    [asked] = await deliver_all()
    left = await client.post(
        links_in(asked)["unsubscribe"], files={"List-Unsubscribe": (None, "One-Click")}
    )
    assert left.status_code == 200
    after = await stored()
    [row] = after["subscriptions"]
    assert (row["status"], row["ended_at"]) == ("unsubscribed", clock.now)
    assert [event["method"] for event in after["consent_events"]] == ["api", "one_click"]
    again = await client.post(links_in(asked)["unsubscribe"], data=ONE_CLICK)
    assert again.content == left.content
    assert await stored() == after


async def _leave_what_is_gone(client: httpx.AsyncClient, path: str, stored: Stored) -> None:
    before = await stored()
    assert "no longer belongs" in html(await client.get(path), 200)
    for body in (ONE_CLICK, None):
        assert "You are unsubscribed" in html(await client.post(path, data=body), 200)
    assert await stored() == before


async def test_a_link_to_leave_never_expires(
    client: httpx.AsyncClient, sign_up: SignUp, paths: Paths, rows: Rows, clock: Clock
) -> None:
    await sign_up()
    path = (await paths())["unsubscribe"]
    clock.advance(days=3_000)
    assert "no more mail" in html(await client.post(path), 200)
    assert [row["status"] for row in await rows(tables.subscriptions)] == ["unsubscribed"]


async def test_leaving_what_was_purged_is_well(
    client: httpx.AsyncClient,
    sign_up: SignUp,
    paths: Paths,
    engine: Engine,
    stored: Stored,
) -> None:
    await sign_up()
    path = (await paths())["unsubscribe"]
    await engine.write(_purge)
    await _leave_what_is_gone(client, path, stored)


async def test_leaving_what_never_was_is_well(
    client: httpx.AsyncClient, house: House, stored: Stored, clock: Clock
) -> None:
    token = house.tokens.sign(Purpose.UNSUBSCRIBE, pack(uuid4()), clock.now)
    await _leave_what_is_gone(client, f"/unsubscribe/{token}", stored)


@pytest.fixture
async def joined(client: httpx.AsyncClient, sign_up: SignUp, paths: Paths) -> dict[str, str]:
    """The links of somebody who is confirmed."""
    await sign_up()
    links = await paths()
    await client.post(links["confirm"])
    return links


async def test_who_left_by_mistake_presses_one_button(
    client: httpx.AsyncClient, joined: dict[str, str], rows: Rows, clock: Clock
) -> None:
    path = joined["unsubscribe"]
    left = html(await client.post(path), 200)
    assert f'action="{path}/undo"' in left
    assert "You are still subscribed" in html(await client.post(f"{path}/undo"), 200)
    assert "You are still subscribed" in html(await client.post(f"{path}/undo"), 200)
    assert [row["status"] for row in await rows(tables.subscriptions)] == ["confirmed"]
    await client.post(path)
    clock.advance(minutes=15)
    assert f'action="{path}/undo"' not in html(await client.post(path), 200)
    late = html(await client.post(f"{path}/undo"), 410)
    assert "Too late to undo" in late
    assert 'href="/newsletters/insights"' in late
    assert [row["status"] for row in await rows(tables.subscriptions)] == ["unsubscribed"]


async def test_a_reason_may_be_given_and_is_one_of_four(
    client: httpx.AsyncClient, joined: dict[str, str], rows: Rows
) -> None:
    path = joined["unsubscribe"]
    left = html(await client.post(path), 200)
    values = re.findall(r'name="reason" type="radio" value="(\w+)"', left)
    assert values == [why.value for why in Why]
    for value in values:
        told = await client.post(f"{path}/reason", data={"reason": value})
        assert "Thank you for your answer" in html(told, 200)
        assert [row["left_because"] for row in await rows(tables.subscriptions)] == [value]
    for bad in ({"reason": "<script>"}, {"reason": ""}, {"x": "1"}):
        html(await client.post(f"{path}/reason", data=bad), 422)
    assert (await client.post(f"{path}/reason", json={"reason": "other"})).status_code == 415
    assert [row["left_because"] for row in await rows(tables.subscriptions)] == [values[-1]]


async def test_only_the_link_to_leave_undoes_and_explains(
    client: httpx.AsyncClient, joined: dict[str, str], house: House, clock: Clock, stored: Stored
) -> None:
    await client.post(joined["unsubscribe"])
    before = await stored()
    other = joined["confirm"].rpartition("/")[2]
    for action, data in (("undo", None), ("reason", {"reason": "other"})):
        html(await client.post(f"/unsubscribe/{other}/{action}", data=data), 404)
        html(await client.get(f"{joined['unsubscribe']}/{action}"), 405)
    nobody = house.tokens.sign(Purpose.UNSUBSCRIBE, pack(uuid4()), clock.now)
    html(await client.post(f"/unsubscribe/{nobody}/undo"), 410)
    html(await client.post(f"/unsubscribe/{nobody}/reason", data={"reason": "other"}), 200)
    assert await stored() == before


def _purge(connection: Connection) -> None:
    connection.execute(tables.subscriptions.delete())
    connection.execute(tables.subscribers.delete())
