"""One address is signed up from a thousand client addresses: it gets a mail per cool-down."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from ipaddress import IPv4Address, ip_network
from typing import Any

import httpx
import pytest

from app.db import tables
from app.main import create_app
from app.services.house import House
from app.settings import Settings
from tests.conftest import BASE_URL, Clock
from tests.web.answers import on_postgresql

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]

ROUNDS = 5
VARIANTS = ["victim@gmail.com", "Vic.Tim@gmail.com", "victim+news@gmail.com"]

Mails = Callable[..., Awaitable[list[dict[str, Any]]]]


@pytest.fixture
async def doors(settings: Settings, house: House) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Two services on one database, each with a door and connections of its own."""
    proxied = settings.model_copy(
        update={"trusted_proxies": (ip_network("127.0.0.0/8"),), "public_rate": ()}
    )
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(2):
            app = create_app(proxied, house=house)
            await stack.enter_async_context(app.router.lifespan_context(app))
            transport = httpx.ASGITransport(app=app)
            client = httpx.AsyncClient(transport=transport, base_url=BASE_URL)
            opened.append(await stack.enter_async_context(client))
        yield opened


async def bomb(doors: list[httpx.AsyncClient], first: int, count: int) -> None:
    answers = await asyncio.gather(
        *(
            doors[number % len(doors)].post(
                "/v1/subscriptions",
                json={"email": VARIANTS[number % len(VARIANTS)], "consent": True},
                headers={"X-Forwarded-For": str(IPv4Address("198.18.0.0") + first + number)},
            )
            for number in range(count)
        )
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1


async def test_a_thousand_sign_ups_are_one_mail(
    doors: list[httpx.AsyncClient], rows: Mails
) -> None:
    await bomb(doors[:1], 0, 1_000)
    assert [row["kind"] for row in await rows(tables.outbox)] == ["confirm"]


@on_postgresql
async def test_from_two_processes_it_is_one_mail_for_each_cool_down_and_three_in_all(
    doors: list[httpx.AsyncClient], rows: Mails, clock: Clock
) -> None:
    for mails, round_ in zip((1, 2, 3, 3, 3), range(ROUNDS), strict=True):
        await bomb(doors, round_ * 1_000, 1_000)
        assert [row["kind"] for row in await rows(tables.outbox)] == ["confirm"] * mails
        clock.advance(minutes=15)
