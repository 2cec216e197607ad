"""How often strangers may post; those behind a proxy that is trusted, for loopback is exempt."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from limits.aio.storage import MemoryStorage
from pydantic import SecretStr
from structlog.testing import capture_logs

from app.db import tables
from app.domain.rate import Rate
from app.main import create_app
from app.services.house import House
from app.settings import Settings
from app.web.throttles import Limits, Throttle
from tests.conftest import BASE_URL, SignUp
from tests.mail.servers import free_port
from tests.web.answers import VARY, html, on_sqlite, problem
from tests.web.conftest import Paths
from tests.web.redis import redis

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house"), on_sqlite]

SAME = "There were too many requests. Please try again a little later."
PROXY = (ip_network("127.0.0.0/8"),)

Open = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def throttled(settings: Settings, house: House) -> Open:
    """Open a service with limits: `async with throttled(client_rate=(Rate(2, 60),)) as client`."""

    @asynccontextmanager
    async def opened(**values: Any) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ANN401
        limits = {"trusted_proxies": PROXY, "client_rate": (Rate(2, 3_600),), **values}
        app = create_app(settings.model_copy(update=limits), house=house)
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client,
        ):
            yield client

    return opened


async def ask(
    client: httpx.AsyncClient, ip: str, number: int = 0, **headers: str
) -> httpx.Response:
    body = {"email": f"reader{number}@example.org", "consent": True}
    named = {"X-Forwarded-For": ip, **headers}
    return await client.post("/v1/subscriptions", json=body, headers=named)


async def statuses(client: httpx.AsyncClient, *ips: str) -> list[int]:
    return [(await ask(client, ip, n)).status_code for n, ip in enumerate(ips)]


async def test_one_client_too_many_is_told_when_to_come_back(throttled: Open) -> None:
    async with throttled() as client:
        assert await statuses(client, "192.0.2.1", "192.0.2.1") == [202, 202]
        refused = await ask(client, "192.0.2.1")
        assert problem(refused, 429, "too-many-requests")["detail"] == SAME
        assert 3_590 <= int(refused.headers["retry-after"]) <= 3_600
        assert refused.headers["vary"] == VARY
        assert await statuses(client, "192.0.2.2") == [202]


async def test_the_shortest_wait_is_that_of_the_limit_that_is_met(throttled: Open) -> None:
    async with throttled(client_rate=(Rate(2, 60), Rate(3, 3_600))) as client:
        assert await statuses(client, *["192.0.2.1"] * 3) == [202, 202, 429]
        refused = await ask(client, "192.0.2.1")
        assert int(refused.headers["retry-after"]) <= 60


async def test_a_line_of_ipv6_is_one_client(throttled: Open) -> None:
    async with throttled() as client:
        same = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:1::3"]
        assert await statuses(client, *same) == [202, 202, 429]
        assert await statuses(client, "2001:db8:0:2::1") == [202]
        mapped = ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"]
        assert await statuses(client, *mapped) == [202, 202, 429]


async def test_what_a_client_writes_itself_does_not_make_it_another(throttled: Open) -> None:
    async with throttled() as client:
        spoofed = [f"198.51.100.{n}, 192.0.2.1" for n in range(3)]
        assert await statuses(client, *spoofed) == [202, 202, 429]


async def test_all_together_have_a_limit_that_the_refused_do_not_use_up(throttled: Open) -> None:
    async with throttled(client_rate=(Rate(1, 3_600),), public_rate=(Rate(3, 3_600),)) as client:
        assert await statuses(client, *["192.0.2.1"] * 5) == [202, 429, 429, 429, 429]
        assert await statuses(client, "192.0.2.2", "192.0.2.3") == [202, 202]
        refused = await ask(client, "192.0.2.4")
        assert problem(refused, 429, "too-many-requests")["detail"] == SAME


async def test_the_answer_is_the_same_for_every_address_and_body(
    throttled: Open, rows: Callable[..., Any]
) -> None:
    async with throttled() as client:
        await ask(client, "192.0.2.1", 1)
        await ask(client, "192.0.2.1", 1)
        known, unknown = await ask(client, "192.0.2.1", 1), await ask(client, "192.0.2.1", 2)
        assert known.content == unknown.content
        assert set(known.headers) == set(unknown.headers)
        bad = await client.post(
            "/v1/subscriptions", json={"x": 1}, headers={"X-Forwarded-For": "192.0.2.1"}
        )
        assert bad.content == known.content
    assert len(await rows(tables.subscribers)) == 1


async def test_a_person_sees_a_page(throttled: Open) -> None:
    async with throttled(client_rate=(Rate(1, 60),)) as client:
        headers = {"X-Forwarded-For": "192.0.2.1", "Accept": "text/html"}
        form = {"email": "ann@example.org", "consent": "on"}
        first = await client.post("/v1/subscriptions", data=form, headers=headers)
        assert first.status_code == 303
        second = await client.post("/v1/subscriptions", data=form, headers=headers)
        assert SAME in html(second, 429)
        assert 0 < int(second.headers["retry-after"]) <= 60


async def test_a_script_of_a_listed_origin_may_read_it(
    throttled: Open, admin: dict[str, str]
) -> None:
    async with throttled() as client:
        origins = {"allowed_origins": ["https://www.example.org"]}
        await client.patch("/v1/newsletters/insights", json=origins, headers=admin)
        for _ in range(2):
            await ask(client, "192.0.2.1")
        listed = await ask(client, "192.0.2.1", Origin="https://www.example.org")
        assert listed.status_code == 429
        assert listed.headers["access-control-allow-origin"] == "https://www.example.org"
        other = await ask(client, "192.0.2.1", Origin="https://evil.example")
        assert "access-control-allow-origin" not in other.headers


async def test_a_post_with_a_signed_token_and_a_get_are_never_limited(
    throttled: Open, paths: Paths
) -> None:
    async with throttled(client_rate=(Rate(1, 3_600),), public_rate=(Rate(1, 3_600),)) as client:
        assert await statuses(client, "192.0.2.1", "192.0.2.1") == [202, 429]
        links = await paths()
        headers = {"X-Forwarded-For": "192.0.2.1"}
        for kind in ("confirm", "unsubscribe"):
            for _ in range(5):
                answer = await client.post(links[kind], headers=headers)
                assert answer.status_code == 200
        assert (await client.get("/newsletters/insights", headers=headers)).status_code == 200


async def test_this_host_is_not_limited(throttled: Open) -> None:
    async with throttled(client_rate=(Rate(1, 60),), public_rate=(Rate(1, 60),)) as client:
        assert await statuses(client, *["127.0.0.1"] * 5) == [202] * 5
        assert await statuses(client, "192.0.2.1", "192.0.2.1") == [202, 429]


async def test_no_crowd_fills_the_memory() -> None:
    storage = MemoryStorage()
    throttle = Throttle(Limits(b"key", (Rate(1_000, 3_600),), ()), storage, slots=16)
    for client in ip_network("198.18.0.0/23"):
        await throttle.admit(client)
    assert len(storage.storage) == 16
    assert sum(storage.storage.values()) == 512


async def test_several_processes_count_together_in_redis(throttled: Open) -> None:
    with redis() as url:
        values = {"rate_limit_url": SecretStr(url), "client_rate": (Rate(3, 3_600),)}
        async with throttled(**values) as one, throttled(**values) as two:
            answers = await asyncio.gather(*(ask(c, "192.0.2.1") for c in (one, two) * 4))
            assert sorted(a.status_code for a in answers) == [202] * 3 + [429] * 5
            assert await statuses(two, "192.0.2.2") == [202]
        async with throttled(**values) as restarted:
            refused = await ask(restarted, "192.0.2.1")
            assert 3_500 < int(refused.headers["retry-after"]) <= 3_600


async def test_while_redis_is_away_everybody_gets_through(throttled: Open) -> None:
    port = free_port()
    values = {"rate_limit_url": SecretStr(f"redis://127.0.0.1:{port}/0")}
    async with throttled(**values) as client:
        with capture_logs() as logs:
            assert await statuses(client, *["192.0.2.1"] * 5) == [202] * 5
        assert [e["event"] for e in logs if e["log_level"] == "warning"] == ["rate_limits_away"]
        with redis(port):
            await asyncio.sleep(1.1)  # it is not asked again before
            assert await statuses(client, *["192.0.2.1"] * 3) == [202, 202, 429]
        assert await statuses(client, *["192.0.2.1"] * 3) == [202] * 3


async def test_without_a_proxy_the_connection_is_the_client(
    throttled: Open, sign_up: SignUp
) -> None:
    async with throttled(trusted_proxies=()) as client:
        assert await statuses(client, *["192.0.2.1"] * 5) == [202] * 5
    assert (await sign_up()).status_code == 202


async def test_asking_for_a_link_counts_with_the_sign_ups_and_people_get_a_page(
    throttled: Open,
) -> None:
    async with throttled() as client:
        proxied = {"X-Forwarded-For": "192.0.2.1"}
        assert await statuses(client, "192.0.2.1") == [202]
        form = {"email": "ann@example.org"}
        html(await client.post("/preferences", data=form, headers=proxied), 200)
        refused = await client.post("/preferences", data=form, headers=proxied)
        assert "too many requests" in html(refused, 429)
        assert int(refused.headers["retry-after"]) > 0
