"""Small things fetched over HTTPS: only from the host that is meant, and never from inside.

The guard against forged addresses (SSRF): nothing but https on its own port, no redirects, no
proxy, and every address that the name resolves to must be a public one. The connection goes to
the very address that was checked, so a name cannot change its mind in between.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import httpx

from app.domain.errors import Unreachable

SECONDS = 10.0
MAX_BYTES = 64 * 1024
_KEPT = 16
_WAITING = 8
_HTTPS = 443
_NAT64 = IPv6Network("64:ff9b::/96")

Resolve = Callable[[str], Awaitable[Sequence[str]]]


async def resolve(host: str) -> Sequence[str]:
    """Return the IP addresses of a host; raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, _HTTPS, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public internet, also behind its IPv6 disguises."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    hidden = _hidden(found) if isinstance(found, IPv6Address) else None
    return all(a.is_global and not a.is_multicast for a in (found, hidden) if a is not None)


def _hidden(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that a packet to this one may end at."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


class Fetcher:
    """Fetches, and remembers what never changes; `transport` and `resolver` are for tests."""

    def __init__(
        self, transport: httpx.AsyncBaseTransport | None = None, resolver: Resolve = resolve
    ) -> None:
        """Take how to connect and how to resolve; nothing is opened yet."""
        self._transport = transport
        self._resolve = resolver
        self._kept: dict[str, bytes] = {}
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def get(self, url: str) -> bytes | None:
        """Return the body, at most 64 KiB; None if the host has no such thing.

        Raises Unreachable if it does not answer in time or as it should, or is not public.
        """
        try:
            async with asyncio.timeout(SECONDS):
                return await self._get(httpx.URL(url))
        except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable("A host that has to be asked does not answer.") from error

    async def get_once(self, url: str, is_good: Callable[[bytes], bool]) -> bytes | None:
        """Return what lies at an address for long, such as a certificate, fetched once.

        What is not good is fetched again when it is next asked for. One at a time: who makes up
        addresses makes nobody fetch many things at once, and what is known waits for none of it.
        Raises Unreachable if many wait already.
        """
        if url in self._kept and is_good(self._kept[url]):
            return self._kept[url]
        if self._waiting >= _WAITING:
            raise Unreachable("Too much has to be asked elsewhere. Try again later.")
        self._waiting += 1
        try:
            async with self._turn:
                return await self._renewed(url, is_good)
        finally:
            self._waiting -= 1

    async def _renewed(self, url: str, is_good: Callable[[bytes], bool]) -> bytes | None:
        if url in self._kept and is_good(self._kept[url]):  # somebody was faster
            return self._kept[url]
        self._kept.pop(url, None)
        body = await self.get(url)
        if body is not None and is_good(body):
            if len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[url] = body
        return body

    async def _get(self, url: httpx.URL) -> bytes | None:
        if url.scheme != "https" or url.port is not None or url.userinfo:
            raise ValueError(url.scheme)
        addresses = await self._resolve(url.host)
        if not addresses or not all(map(is_public, addresses)):
            raise ValueError("not public")
        pinned = url.copy_with(host=addresses[0])
        async with (
            httpx.AsyncClient(
                transport=self._transport, trust_env=False, follow_redirects=False, timeout=SECONDS
            ) as client,
            client.stream(
                "GET",
                pinned,
                headers={"Host": url.host, "Accept-Encoding": "identity"},
                extensions={"sni_hostname": url.host},
            ) as answer,
        ):
            if answer.is_server_error or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
                raise ValueError(answer.status_code)
            return await _limited(answer) if answer.status_code == httpx.codes.OK else None


async def _limited(answer: httpx.Response) -> bytes:
    if answer.headers.get("content-encoding", "identity") != "identity":  # it may grow
        raise ValueError("encoded")
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > MAX_BYTES:
            raise ValueError("too large")
    return bytes(body)
