from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from fastapi import Request

from app.db import tables
from app.settings import Settings
from app.web import client_address
from app.web.client_address import Networks
from tests.conftest import SignUp
from tests.web.answers import on_sqlite

PROXIES: Networks = tuple(map(ip_network, ("10.0.0.0/8", "2001:db8:1::/48", "127.0.0.0/8")))
ELSEWHERE = "198.51.100.7"


def seen(peer: str | None, forwarded: list[str], trusted: Networks = PROXIES) -> str | None:
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in forwarded]
    scope = {"type": "http", "headers": headers, "client": (peer, 1) if peer else None}
    found = client_address.of(Request(scope), trusted)
    return str(found) if found else None


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", [ELSEWHERE], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", [ELSEWHERE], ELSEWHERE),
        ("10.0.0.1", [f"1.1.1.1, {ELSEWHERE}"], ELSEWHERE),
        ("10.0.0.1", [f"1.1.1.1, {ELSEWHERE}, 10.9.9.9"], ELSEWHERE),
        ("10.0.0.1", ["1.1.1.1", ELSEWHERE, "10.9.9.9"], ELSEWHERE),
        ("10.0.0.1", [f"1.1.1.1, 10.2.2.2, {ELSEWHERE} ,10.9.9.9"], ELSEWHERE),
        ("10.0.0.1", ["10.3.3.3, 10.9.9.9"], "10.3.3.3"),
        ("10.0.0.1", [f"{ELSEWHERE}:443"], ELSEWHERE),
        ("10.0.0.1", ["2001:db8:2::5"], "2001:db8:2::5"),
        ("10.0.0.1", ["[2001:db8:2::5]"], "2001:db8:2::5"),
        ("10.0.0.1", ["[2001:db8:2::5]:443"], "2001:db8:2::5"),
        ("10.0.0.1", ["fe80::1%eth0"], "fe80::1"),
        ("10.0.0.1", [f"::ffff:{ELSEWHERE}"], ELSEWHERE),
        ("10.0.0.1", [f"{ELSEWHERE}, ::ffff:10.1.1.1"], ELSEWHERE),
        ("::ffff:10.0.0.1", [ELSEWHERE], ELSEWHERE),
        ("2001:db8:1::1", [ELSEWHERE], ELSEWHERE),
        ("2001:db8:9::1", [ELSEWHERE], "2001:db8:9::1"),
        ("10.0.0.1", ["1.1.1.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["1.1.1.1, _hidden, 10.9.9.9"], "10.9.9.9"),
        ("10.0.0.1", ["1.1.1.1, 999.1.1.1"], "10.0.0.1"),
        ("10.0.0.1", ["<script>\xff"], "10.0.0.1"),
        ("10.0.0.1", [","], "10.0.0.1"),
        (None, [ELSEWHERE], None),
        ("/run/socket", [ELSEWHERE], None),
    ],
)
def test_the_client_is_the_right_most_hop_that_is_no_proxy_of_ours(
    peer: str | None, forwarded: list[str], address: str | None
) -> None:
    assert seen(peer, forwarded) == address


def test_without_proxies_nobody_is_believed() -> None:
    assert seen("10.0.0.1", [ELSEWHERE], ()) == "10.0.0.1"


@pytest.fixture
def settings(settings: Settings, precision: str) -> Settings:
    """The service behind a proxy."""
    return settings.model_copy(update={"trusted_proxies": PROXIES, "consent_ip": precision})


@pytest.mark.anyio
@pytest.mark.usefixtures("open_house")
@on_sqlite
@pytest.mark.parametrize(
    ("precision", "v4", "v6"),
    [
        ("full", ELSEWHERE, "2001:db8:2:3::5"),
        ("truncated", "198.51.100.0", "2001:db8:2::"),
        ("none", None, None),
    ],
)
async def test_the_record_holds_as_much_of_the_address_as_is_allowed(
    client: httpx.AsyncClient,
    sign_up: SignUp,
    rows: Callable[..., Awaitable[list[dict[str, Any]]]],
    v4: str | None,
    v6: str | None,
) -> None:
    for email, address in (("ann@example.org", ELSEWHERE), ("bob@example.org", "2001:db8:2:3::5")):
        client.headers["X-Forwarded-For"] = f"1.1.1.1, {address}"
        await sign_up(email)
    assert [event["ip"] for event in await rows(tables.consent_events)] == [v4, v6]
