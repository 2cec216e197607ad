"""The guard in front of every fetch; nothing here leaves the host."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

import httpx
import pytest

from app.domain.errors import Unreachable
from app.remote import fetches
from app.remote.fetches import MAX_BYTES, Fetcher

pytestmark = pytest.mark.anyio

URL = "https://sns.eu-west-1.amazonaws.com/certificate.pem"
PUBLIC = ["198.41.0.4", "2001:503:ba3e::2:30"]

Handler = Callable[[httpx.Request], httpx.Response]
AsyncHandler = Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


def answering(handler: Handler | AsyncHandler, addresses: Sequence[str] = PUBLIC) -> Fetcher:
    async def resolver(_host: str) -> Sequence[str]:
        return addresses

    return Fetcher(httpx.MockTransport(handler), resolver)


def never(_request: httpx.Request) -> httpx.Response:
    raise AssertionError("nothing may be fetched")


async def test_the_address_that_was_checked_is_the_one_that_is_asked() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"body")

    for addresses in (PUBLIC, PUBLIC[::-1]):
        assert await answering(handler, addresses).get(f"{URL}?a=b") == b"body"
    assert [request.url.host for request in seen] == PUBLIC
    for request in seen:
        assert request.headers["host"] == "sns.eu-west-1.amazonaws.com"
        assert request.extensions["sni_hostname"] == "sns.eu-west-1.amazonaws.com"
        assert request.url.raw_path == b"/certificate.pem?a=b"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - to be refused
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "fe80::1%eth0",
        "not an address",
        "",
    ],
)
async def test_what_is_not_public_is_not_asked(address: str) -> None:
    assert not fetches.is_public(address)
    for addresses in ([address], [*PUBLIC, address]):
        with pytest.raises(Unreachable):
            await answering(never, addresses).get(URL)


@pytest.mark.parametrize("address", [*PUBLIC, "::ffff:198.41.0.4", "64:ff9b::c629:4"])
async def test_what_is_public_is(address: str) -> None:
    assert fetches.is_public(address)


async def test_a_name_for_this_host_is_refused_by_the_resolver_that_is_used() -> None:
    with pytest.raises(Unreachable):
        await Fetcher(httpx.MockTransport(never)).get("https://localhost/x.pem")


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-west-1.amazonaws.com/x",
        "https://sns.eu-west-1.amazonaws.com:8443/x",
        "https://user:password@sns.eu-west-1.amazonaws.com/x",
        "ftp://sns.eu-west-1.amazonaws.com/x",
        "https:///x",
        "https://[::1/x",
        "/x",
        "",
    ],
)
async def test_only_plain_https_is_fetched(url: str) -> None:
    with pytest.raises(Unreachable):
        await answering(never, []).get(url)
    if url and "///" not in url and not url.startswith("/"):
        with pytest.raises(Unreachable):
            await answering(never).get(url)


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 308, 400, 401, 403, 404, 410])
async def test_a_redirect_or_refusal_is_nothing(status: int) -> None:
    headers = {"Location": "https://169.254.169.254/"}
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(status, headers=headers, content=b"x")

    assert await answering(handler).get(URL) is None
    assert asked == PUBLIC[:1]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_host_in_trouble_is_unreachable(status: int) -> None:
    with pytest.raises(Unreachable):
        await answering(lambda _: httpx.Response(status)).get(URL)


@pytest.mark.parametrize(
    "error", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError, TimeoutError]
)
async def test_a_host_that_does_not_answer_is_unreachable(error: type[Exception]) -> None:
    def handler(_request: httpx.Request) -> httpx.Response:
        raise error("secret text")

    with pytest.raises(Unreachable) as raised:
        await answering(handler).get(URL)
    assert "secret" not in raised.value.detail
    assert "amazonaws" not in raised.value.detail


async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    async def resolver(_host: str) -> Sequence[str]:
        raise OSError("no such host")

    with pytest.raises(Unreachable):
        await Fetcher(httpx.MockTransport(never), resolver).get(URL)


async def test_no_more_is_read_than_is_taken() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1024
            yield b"x" * 1024

    with pytest.raises(Unreachable):
        await answering(lambda _: httpx.Response(200, content=endless())).get(URL)
    assert read <= MAX_BYTES + 2048
    most = await answering(lambda _: httpx.Response(200, content=b"x" * MAX_BYTES)).get(URL)
    assert most == b"x" * MAX_BYTES


async def test_what_would_grow_when_it_is_read_is_not_taken() -> None:
    small = gzip.compress(b"x" * 1024)
    answer = httpx.Response(200, content=small, headers={"Content-Encoding": "gzip"})
    with pytest.raises(Unreachable):
        await answering(lambda _: answer).get(URL)


async def test_what_never_changes_is_fetched_once_and_the_oldest_is_forgotten() -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(404 if "missing" in request.url.path else 200, content=b"x")

    fetcher = answering(handler)
    for name in ("a", "a", "missing", "missing"):
        await fetcher.get_once(f"https://host.example/{name}", bool)
    assert asked == ["/a", "/missing", "/missing"]
    for number in range(16):
        await fetcher.get_once(f"https://host.example/{number}", bool)
    await fetcher.get_once("https://host.example/15", bool)
    await fetcher.get_once("https://host.example/a", bool)
    assert asked[3:] == [f"/{number}" for number in range(16)] + ["/a"]


async def test_what_is_no_good_is_not_kept_and_what_has_become_so_is_fetched_again() -> None:
    bodies = [b"try again", b"certificate", b"next certificate"]
    fetcher = answering(lambda _: httpx.Response(200, content=bodies.pop(0)))
    good = {b"certificate", b"next certificate"}
    assert await fetcher.get_once(URL, good.__contains__) == b"try again"
    for _ in range(2):
        assert await fetcher.get_once(URL, good.__contains__) == b"certificate"
    good.remove(b"certificate")
    assert await fetcher.get_once(URL, good.__contains__) == b"next certificate"


async def test_what_is_known_waits_for_nobody_and_the_line_is_short() -> None:
    gate = asyncio.Event()

    async def handler(request: httpx.Request) -> httpx.Response:
        if "slow" in request.url.path:
            await gate.wait()
        return httpx.Response(200, content=b"x")

    fetcher = answering(handler)
    await fetcher.get_once(URL, bool)
    waiting = [
        asyncio.create_task(fetcher.get_once(f"https://host.example/slow{number}", bool))
        for number in range(8)
    ]
    await asyncio.sleep(0.01)
    assert await fetcher.get_once(URL, bool) == b"x"
    with pytest.raises(Unreachable):
        await fetcher.get_once("https://host.example/one-too-many", bool)
    gate.set()
    assert await asyncio.gather(*waiting) == [b"x"] * 8
