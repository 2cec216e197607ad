"""Delivery: claim, send, settle, all at the same time and none losing a message."""

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass, replace

import structlog

from app.db.engine import Engine
from app.db.leases import Lease
from app.db.wakeups import Wakeups
from app.domain.errors import Unavailable
from app.domain.retry import Outcome, Verdict
from app.mail.compose import Letterhead
from app.mail.transport import Transport
from app.services import outbox
from app.services.house import House
from app.services.outbox import Tried

CLAIM = 500
FIRST_CLAIM = 100
SECONDS_IN_HAND = 5
UNSETTLED = 100
SETTLE_EVERY = 0.1
LEASE_SECONDS = 60.0
SPARE_SECONDS = 10.0
RENEW_EVERY = 20.0
IDLE_SECONDS = 1.0
DRAIN_SECONDS = 30.0
AGAIN_SECONDS = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Held:
    """A message in hand; by our own monotonic clock, since when and until when it is ours."""

    lease: Lease
    letterhead: Letterhead
    since: float
    until: float


class Delivery:
    """One worker's hands: what waits in them, what is on the wire, what is not settled yet."""

    def __init__(self, engine: Engine, house: House, transport: Transport, name: str) -> None:
        """Take what is needed; nothing runs yet. `name` tells this worker from all others."""
        self._engine = engine
        self._house = house
        self._transport = transport
        self._name = name
        self._waiting: deque[_Held] = deque()
        self._on_wire: dict[int, _Held] = {}
        self._unsettled: list[Tried] = []
        self._more = asyncio.Condition()
        self._settling = asyncio.Lock()
        self._news = asyncio.Event()
        self._full = asyncio.Event()
        self._claim_size = max(FIRST_CLAIM, transport.connections)

    async def run(self, wakeups: Wakeups, stop: asyncio.Event, *, until_idle: bool = False) -> None:
        """Deliver until stopped, then finish what is on the wire and give back the rest.

        `until_idle`: return as soon as nothing is due and nothing is in hand.
        """
        senders = [asyncio.create_task(self._send()) for _ in range(self._transport.connections)]
        chores = [asyncio.create_task(self._settle()), asyncio.create_task(self._renew())]
        chores.append(asyncio.create_task(_wake_on(stop, wakeups)))
        try:
            while not stop.is_set() and await self._claim(wakeups, until_idle=until_idle):
                _require_running(senders)
        finally:
            await self._finish(senders, chores)

    async def _claim(self, wakeups: Wakeups, *, until_idle: bool) -> bool:
        """Fill the hands once, or wait until there is reason to; False if idle and told to end."""
        try:
            await self._flush()
            if len(self._waiting) > self._claim_size // 2 or self._has_suspect():
                await asyncio.sleep(SETTLE_EVERY)
                return True
            if await self._claim_once():
                return True
            if until_idle:
                await asyncio.sleep(SETTLE_EVERY / 10)
                return bool(self._waiting or self._on_wire or self._unsettled)
            await wakeups.wait(IDLE_SECONDS)
        except Exception as error:  # noqa: BLE001 - the top of the loop: log, and go on
            log.error("claim_failed", error=type(error).__qualname__)
            await asyncio.sleep(AGAIN_SECONDS)
        return True

    def _has_suspect(self) -> bool:
        in_hand = (*self._waiting, *self._on_wire.values())
        return any(held.lease.suspect for held in in_hand)

    async def _claim_once(self) -> bool:
        """Take what is due, never more than about 5 seconds of work; False if there is nothing."""
        started = time.monotonic()
        slow = self._waiting and started - self._waiting[0].since > SECONDS_IN_HAND
        if slow:
            self._claim_size = max(self._transport.connections, self._claim_size // 2)
            await asyncio.sleep(SETTLE_EVERY)
            return True
        hand = await self._engine.write(
            outbox.claim,
            self._house,
            self._name,
            self._transport.name,
            self._claim_size,
            alone=not (self._waiting or self._on_wire),
        )
        await self._take(hand, started)
        if len(hand.leases) == self._claim_size:
            self._claim_size = min(CLAIM, self._claim_size * 2)
        return bool(hand.leases)

    async def _take(self, hand: outbox.Hand, since: float) -> None:
        async with self._more:
            for lease in hand.leases:
                head = hand.letterheads[lease.newsletter]
                held = _Held(lease, head, since, since + LEASE_SECONDS)
                if not self._is_in_hand(held):
                    self._waiting.append(held)
            self._more.notify_all()

    def _is_in_hand(self, again: _Held) -> bool:
        """Tell whether we have this message still, from a lease that ran out while we held it.

        Then it must not be sent a second time, and what it comes to settles by the new lease.
        """
        row = again.lease.id
        if row in self._on_wire:
            self._on_wire[row] = again
            return True
        for index, tried in enumerate(self._unsettled):
            if tried.lease.id == row:
                self._unsettled[index] = Tried(again.lease, tried.verdict)
                return True
        self._waiting = deque(held for held in self._waiting if held.lease.id != row)
        return False

    async def _send(self) -> None:
        """Send one message after another."""
        while True:
            async with self._more:
                await self._more.wait_for(self._may_send)
                held = self._waiting.popleft()
                if held.until - time.monotonic() < SPARE_SECONDS:
                    continue  # another worker may take it any moment
                self._on_wire[held.lease.id] = held
            verdict = await self._attempt(held)
            async with self._more:
                held = self._on_wire.pop(held.lease.id)
                self._unsettled.append(Tried(held.lease, verdict))
                self._more.notify_all()
            self._news.set()
            if len(self._unsettled) >= UNSETTLED:
                self._full.set()

    def _may_send(self) -> bool:
        """Tell whether there is a message, and its answer would not be one too many to lose."""
        unsettled = len(self._unsettled) + len(self._on_wire)
        return bool(self._waiting) and unsettled < UNSETTLED

    async def _attempt(self, held: _Held) -> Verdict:
        try:
            message = outbox.message(self._house, held.lease, held.letterhead)
        except Exception as error:  # noqa: BLE001 - what cannot be composed is held, and no more
            return Verdict(Outcome.BAD_MESSAGE, type(error).__qualname__)
        try:
            return await self._transport.send(message)
        except Exception as error:  # noqa: BLE001 - a defect of a transport must not lose the row
            return Verdict(Outcome.UNKNOWN, type(error).__qualname__)

    async def _settle(self) -> None:
        """Write outcomes 100 ms after the first, or as soon as there are 100."""
        while True:
            await self._news.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), SETTLE_EVERY)
            self._news.clear()
            self._full.clear()
            try:
                await self._flush()
            except Exception as error:  # noqa: BLE001 - the top of the loop: log, and try again
                log.error("settle_failed", error=type(error).__qualname__)
                await asyncio.sleep(AGAIN_SECONDS)
                self._news.set()

    async def _flush(self) -> None:
        """Write every outcome that is known; what cannot be written stays in memory."""
        async with self._settling:
            while batch := self._unsettled[:UNSETTLED]:
                rests = await self._engine.write(
                    outbox.settle, self._house, self._transport.name, batch
                )
                del self._unsettled[: len(batch)]
                _report(batch)
                async with self._more:
                    self._more.notify_all()
                if rests:
                    await self._give_back()

    async def _give_back(self) -> None:
        """Return what was not tried, so that it is not held while nothing can be sent."""
        waiting = [held.lease for held in self._waiting]
        self._waiting.clear()
        await self._engine.write(outbox.give_back, waiting)

    async def _renew(self) -> None:
        """Prolong every lease in hand; let go of those that are lost."""
        while True:
            await asyncio.sleep(RENEW_EVERY)
            with contextlib.suppress(Exception):  # unrenewed leases are not put on the wire
                await self._renew_once()

    async def _renew_once(self) -> None:
        until = time.monotonic() + LEASE_SECONDS
        ids = [held.lease.id for held in (*self._waiting, *self._on_wire.values())]
        ours = await self._engine.write(outbox.renew, self._house, self._name, ids)
        lost = set(ids) - ours  # what was claimed meanwhile is neither
        kept = [
            replace(held, until=until) if held.lease.id in ours else held
            for held in self._waiting
            if held.lease.id not in lost
        ]
        self._waiting.clear()
        self._waiting.extend(kept)

    async def _finish(
        self, senders: list[asyncio.Task[None]], chores: list[asyncio.Task[None]]
    ) -> None:
        """Take nothing more on the wire, wait for what is, settle it, return the rest."""
        async with self._more:
            rest = [held.lease for held in self._waiting]
            self._waiting.clear()
        deadline = time.monotonic() + DRAIN_SECONDS
        async with self._more:
            with contextlib.suppress(TimeoutError):
                idle = self._more.wait_for(lambda: not self._on_wire)
                await asyncio.wait_for(idle, DRAIN_SECONDS)
        for task in (*senders, *chores):
            task.cancel()
        await asyncio.gather(*senders, *chores, return_exceptions=True)
        while self._unsettled or rest:
            try:
                await self._flush()
                await self._engine.write(outbox.give_back, rest)
                rest = []
            except Unavailable:
                if not self._unsettled:
                    return  # leases run out by themselves
                # What was sent and cannot be written down would be sent again: try to the end.
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(AGAIN_SECONDS)


def _require_running(tasks: list[asyncio.Task[None]]) -> None:
    """Raise what ended a task that should never end: better a restart than a silent worker."""
    for task in tasks:
        if task.done():
            task.result()


async def _wake_on(stop: asyncio.Event, wakeups: Wakeups) -> None:
    await stop.wait()
    wakeups.wake()


def _report(batch: list[Tried]) -> None:
    for tried in batch:
        level = log.info if tried.verdict.outcome is Outcome.SENT else log.warning
        level(
            "mail",
            id=tried.lease.id,
            kind=tried.lease.kind,
            outcome=tried.verdict.outcome.value,
            detail=tried.verdict.detail,
        )
