"""A worker sees to the circuit breaker while it runs."""

import asyncio
from dataclasses import replace

import pytest

from app.db import breakers
from app.db.engine import Engine
from app.domain.rate import Rate
from app.services import subscriptions
from app.services.house import House
from app.worker.loop import judge
from tests.services.people import sign_up

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]


async def test_it_notices_when_mails_begin_to_wait(engine: Engine, house: House) -> None:
    strict = replace(house, confirm_rate=Rate(1, 3_600))
    people = [sign_up("ann@example.org"), sign_up("bob@example.org")]
    await engine.write(subscriptions.apply, people, strict)
    judging = asyncio.create_task(judge(engine, strict))
    try:
        async with asyncio.timeout(10):
            while not (found := await engine.read(breakers.read)) or not found.opened_at:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        judging.cancel()
        await asyncio.gather(judging, return_exceptions=True)
    assert found.opened_at == house.clock()
