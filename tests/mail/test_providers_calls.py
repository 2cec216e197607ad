"""Silence, statuses and waits, over real sockets where it matters."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from app.domain.retry import Outcome, Verdict
from app.mail.providers.calls import Answer, Calls, bounded, outcome_of, retry_after
from tests.mail.conftest import Certificate
from tests.mail.providers import NOW, Wire
from tests.mail.servers import free_port

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def request(url: str = "https://api.example.org/send") -> httpx.Request:
    return httpx.Request("POST", url, json={"to": "reader@example.net"})


async def verdict_of(error: Exception) -> Verdict:
    wire = Wire(lambda _: httpx.Response(200))
    wire.before = error
    calls = Calls(1, wire, lambda: NOW)
    verdict = await calls.send(request())
    await calls.close()
    assert isinstance(verdict, Verdict)
    return verdict


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (httpx.ConnectError, Outcome.RETRY_TRANSPORT),
        (httpx.ConnectTimeout, Outcome.RETRY_TRANSPORT),
        (httpx.PoolTimeout, Outcome.RETRY_TRANSPORT),
        (httpx.ProxyError, Outcome.RETRY_TRANSPORT),
        (httpx.ReadTimeout, Outcome.UNKNOWN),
        (httpx.ReadError, Outcome.UNKNOWN),
        (httpx.WriteTimeout, Outcome.UNKNOWN),
        (httpx.WriteError, Outcome.UNKNOWN),
        (httpx.RemoteProtocolError, Outcome.UNKNOWN),
        (httpx.DecodingError, Outcome.UNKNOWN),
        (OSError, Outcome.UNKNOWN),
    ],
)
async def test_silence_is_judged_by_what_may_have_left(
    error: type[Exception], outcome: Outcome
) -> None:
    assert await verdict_of(error("reader@example.net")) == Verdict(outcome, error.__name__)


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        ((200, 201, 202, 204), Outcome.UNKNOWN),
        ((400, 413, 422), Outcome.BAD_MESSAGE),
        ((401, 402, 403, 404, 405, 406, 407, 409, 410, 415, 418), Outcome.SENDER_FAULT),
        ((408, 425, 429, 500, 502, 503, 504, 599), Outcome.RETRY_TRANSPORT),
        ((301, 302, 307, 308), Outcome.RETRY_TRANSPORT),
    ],
)
def test_a_status_alone_says_whom_it_concerns(statuses: tuple[int, ...], outcome: Outcome) -> None:
    assert {outcome_of(status) for status in statuses} == {outcome}


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("1", timedelta(seconds=1)),
        ("120", timedelta(minutes=2)),
        ("3600", HOUR),
        ("86400", HOUR),
        ("999999999", HOUR),
        ("Wed, 25 Nov 2026 12:00:30 GMT", timedelta(seconds=30)),
        ("Wed, 25 Nov 2026 12:05:00 UTC", timedelta(minutes=5)),
        ("Wed, 25 Nov 2026 12:05:00 -0000", timedelta(minutes=5)),
        ("Thu, 26 Nov 2026 12:00:00 GMT", HOUR),
        ("Wed, 25 Nov 2026 12:00:00 GMT", None),
        ("Wed, 25 Nov 2015 12:00:00 GMT", None),
        (None, None),
        ("", None),
        ("0", None),
        ("-5", None),
        ("1.5", None),
        ("9" * 5000, None),
        ("\u0663", None),
        ("soon", None),
        ("Wed, 99 Nov 2026 12:00:00 GMT", None),
        ("Wed, 25 Nov 99999999999 12:00:00 GMT", None),
    ],
)
def test_a_wait_is_read_and_never_trusted_beyond_an_hour(
    value: str | None, wait: timedelta | None
) -> None:
    assert retry_after(value, NOW) == wait


def test_a_wait_of_nothing_is_none() -> None:
    assert bounded(timedelta()) is None
    assert bounded(timedelta(seconds=-1)) is None
    assert bounded(timedelta(microseconds=1)) == timedelta(microseconds=1)


def answer(status: int = 200, body: object = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, httpx.Headers(named), body, NOW)


def test_only_a_verdict_that_defers_carries_a_wait() -> None:
    told = answer(429, Retry_After="7")
    assert told.verdict(Outcome.RETRY_TRANSPORT).retry_after == timedelta(seconds=7)
    assert told.verdict(Outcome.RETRY_TRANSPORT, wait=HOUR).retry_after == timedelta(seconds=7)
    assert told.verdict(Outcome.SENDER_FAULT).retry_after is None
    assert answer(503).verdict(Outcome.RETRY_TRANSPORT, wait=HOUR).retry_after == HOUR


@pytest.mark.parametrize("identifier", ["", "a\0b", "a b", "\u00fc", "x" * 256, 7, None, ["x"]])
def test_a_name_that_the_database_could_not_keep_is_dropped(identifier: object) -> None:
    verdict = answer().verdict(Outcome.SENT, provider_id=identifier)
    assert verdict == Verdict(Outcome.SENT, "200")


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe{", b"[" * 100_000, b"{"])
async def test_a_body_that_is_no_json_is_none(body: bytes) -> None:
    calls = Calls(1, Wire(lambda _: httpx.Response(200, content=body)), lambda: NOW)
    told = await calls.send(request())
    assert isinstance(told, Answer)
    assert told.body is None
    assert told.member("id", "ID") is None


async def test_a_redirect_is_not_followed() -> None:
    wire = Wire(lambda _: httpx.Response(307, headers={"Location": "https://example.net/"}))
    told = await Calls(1, wire, lambda: NOW).send(request())
    assert isinstance(told, Answer)
    assert told.status == 307
    assert len(wire.requests) == 1


@dataclass
class Peer:
    """A server on a real socket that says one thing to each request, and may hang up then."""

    says: bytes
    hangs_up: bool
    port: int = 0
    heard: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/send"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
                self.heard.append(await reader.readexactly(length))
                writer.write(self.says)
                await writer.drain()
                if self.hangs_up:
                    break
        writer.close()


@contextlib.asynccontextmanager
async def peer(
    says: bytes, tls: ssl.SSLContext | None = None, *, hangs_up: bool = False
) -> AsyncIterator[Peer]:
    told = Peer(says, hangs_up)
    server = await asyncio.start_server(told.serve, "127.0.0.1", 0, ssl=tls)
    told.port = server.sockets[0].getsockname()[1]
    try:
        yield told
    finally:
        server.close()
        await asyncio.sleep(0.02)


@pytest.fixture
async def calls(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Calls]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    ready = Calls(2, None, lambda: datetime.now(UTC))
    yield ready
    await ready.close()


async def test_a_real_server_is_heard_and_its_connection_kept(calls: Calls) -> None:
    async with peer(OK) as server:
        for _ in range(3):
            told = await calls.send(request(server.url))
            assert isinstance(told, Answer)
            assert (told.status, told.body) == (200, {})
        assert server.heard == [b'{"to":"reader@example.net"}'] * 3
        await calls.close()


async def test_a_real_server_that_hangs_up_leaves_it_unknown(calls: Calls) -> None:
    async with peer(b"", hangs_up=True) as server:
        verdict = await calls.send(request(server.url))
        assert len(server.heard) == 1
    assert isinstance(verdict, Verdict)
    assert verdict.outcome is Outcome.UNKNOWN


async def test_a_real_server_that_breaks_off_its_answer_leaves_it_unknown(calls: Calls) -> None:
    async with peer(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", hangs_up=True) as server:
        verdict = await calls.send(request(server.url))
    assert verdict == Verdict(Outcome.UNKNOWN, "RemoteProtocolError")


async def test_a_port_where_nobody_listens_means_later(calls: Calls) -> None:
    verdict = await calls.send(request(f"http://127.0.0.1:{free_port()}/send"))
    assert verdict == Verdict(Outcome.RETRY_TRANSPORT, "ConnectError")


async def test_a_certificate_that_nobody_vouches_for_is_a_fault_of_ours(
    calls: Calls, certificate: Certificate
) -> None:
    async with peer(OK, certificate.server) as server:
        verdict = await calls.send(request(f"https://localhost:{server.port}/send"))
        assert server.heard == []
    assert verdict == Verdict(Outcome.SENDER_FAULT, "ConnectError")
