"""Somebody with many addresses of the internet floods one mailbox, through two real processes."""

import asyncio
from ipaddress import IPv4Address
from pathlib import Path

import httpx

from tests.journeys.processes import (
    PostOffice,
    fetch,
    furnish,
    installed,
    is_ready,
    wait_until,
)
from tests.web.redis import redis

VICTIM = {"email": "victim@example.org", "consent": True}
BOTS = [str(IPv4Address("198.51.100.0") + number) for number in range(1_000)]


async def _flood(urls: list[str], clients: list[str]) -> list[int]:
    """Post once for each client address, to the servers by turns, forty at a time."""
    turns = asyncio.Semaphore(40)  # in front of httpx, whose own waiting line is slow

    async def post(number: int, address: str) -> int:
        url = f"{urls[number % len(urls)]}/v1/subscriptions"
        async with turns:
            answer = await client.post(url, json=VICTIM, headers={"X-Forwarded-For": address})
        return answer.status_code

    async with httpx.AsyncClient(timeout=60) as client:
        return await asyncio.gather(*(post(n, address) for n, address in enumerate(clients)))


def test_a_thousand_clients_cause_one_mail_and_one_client_is_limited_across_processes(
    tmp_path: Path, empty_postgres: str, office: PostOffice
) -> None:
    settings = {
        "database_url": empty_postgres,
        "mail_url": office.url,
        "trusted_proxies": "127.0.0.0/8",
        "client_rate": "5/h",
        "public_rate": "",
    }
    with redis() as url, installed(tmp_path, rate_limit_url=url, **settings) as house:
        house.ok("migrate")
        furnish(house)
        urls = [house.serve(), house.serve()]
        house.start("work")
        wait_until(lambda: all(is_ready(url) for url in urls))

        assert asyncio.run(_flood(urls, BOTS)) == [202] * 1_000
        sent = "SELECT kind, state FROM outbox"
        wait_until(lambda: fetch(empty_postgres, sent) == [("confirm", "sent")])
        assert office.recipients == ["victim@example.org"]
        refused = "SELECT sum(refused) FROM mail_budgets WHERE newsletter = 'insights'"
        assert fetch(empty_postgres, refused) == [(999,)]

        one_of_them = asyncio.run(_flood(urls, BOTS[:1] * 20))
        assert sorted(one_of_them) == [202] * 4 + [429] * 16
        assert house.stop() == [0, 0, 0]
        assert "victim" not in house.logs()
        assert BOTS[0] not in house.logs()
