"""How often strangers may post: limits for each client and for all of them together."""

import contextlib
import math
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import structlog
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.domain.budget import keyed_hash
from app.domain.errors import TooMany
from app.domain.rate import Rate
from app.web import client_address
from app.web.client_address import Ip

SLOTS = 8_192
"""Clients that are told apart in memory; more share a slot, so that nobody can fill it up."""

_REDIS_CONNECTIONS = 20
_REDIS_SECONDS = 0.5
_AWAY_SECONDS = 1.0
_WARN_EVERY = 60.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """How often one client, and all of them together, may post; and the key that hides who."""

    key: bytes
    client: tuple[Rate, ...]
    whole: tuple[Rate, ...]


class Throttle:
    """Counts public POSTs; where the counter is away, everybody is let through."""

    def __init__(self, limits: Limits, storage: Storage, slots: int | None = None) -> None:
        """Take the limits, where to count, and how many clients are told apart there."""
        self._limiter = FixedWindowRateLimiter(storage)
        self._slots = slots
        self._key = limits.key
        self._client = [_item(rate) for rate in limits.client]
        self._whole = [_item(rate) for rate in limits.whole]
        self._asks_again_at = self._warns_again_at = -math.inf

    async def admit(self, client: Ip | None) -> None:
        """Count one request; raises TooMany if it is one too many.

        What comes from this host itself is nobody's attack, and is not counted.
        """
        if client is None or client.is_loopback or time.monotonic() < self._asks_again_at:
            return
        try:
            # Clients first: what is refused to one of them uses up nothing of the others.
            await self._count(self._client, self._name(client))
            await self._count(self._whole, "all")
        except StorageError as error:
            self._is_away(error)

    async def _count(self, items: Sequence[RateLimitItem], name: str) -> None:
        for item in items:
            if not await self._limiter.hit(item, name):
                window = await self._limiter.get_window_stats(item, name)
                raise TooMany(max(1, math.ceil(window.reset_time - time.time())))

    def _name(self, client: Ip) -> str:
        """Return a name of the client's network that does not tell which it is."""
        name = keyed_hash(self._key, "client", client_address.network(client))
        return name if self._slots is None else str(int(name, 16) % self._slots)

    def _is_away(self, error: StorageError) -> None:
        now = time.monotonic()
        self._asks_again_at = now + _AWAY_SECONDS  # nobody else waits in vain until then
        if now >= self._warns_again_at:
            self._warns_again_at = now + _WARN_EVERY
            cause = error.__cause__ or error
            log.warning("rate_limits_away", error=type(cause).__qualname__)


def _item(rate: Rate) -> RateLimitItem:
    return RateLimitItemPerSecond(rate.count, rate.seconds, namespace="newsletter")


@contextlib.asynccontextmanager
async def open_throttle(limits: Limits, url: str | None) -> AsyncIterator[Throttle]:
    """Have a throttle while inside: `redis://...` counts for all processes, None for this one.

    Raises ValueError if the URL cannot be read. Nothing is connected yet.
    """
    if url is None:
        yield Throttle(limits, MemoryStorage(), SLOTS)
        return
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_REDIS_CONNECTIONS,
        timeout=_REDIS_SECONDS,
        socket_timeout=_REDIS_SECONDS,
        socket_connect_timeout=_REDIS_SECONDS,
        retry=Retry(NoBackoff(), 1),  # once: the connection may have been closed meanwhile
    )
    storage = RedisStorage(
        f"async+{url}",
        wrap_exceptions=True,
        implementation="redispy",
        connection_pool=pool,  # type: ignore[arg-type] # handed on to redis.asyncio.Redis
    )
    try:
        yield Throttle(limits, storage)
    finally:
        await pool.aclose()
