"""Delivery: claim, send, settle, all at the same time and none losing a message."""

import asyncio
import contextlib
import time
from typing import Any

import structlog

from app.db.engine import Engine
from app.db.leases import Lease, Reach
from app.db.wakeups import Wakeups
from app.domain.retry import Outcome, Verdict
from app.mail.message import Message
from app.mail.transport import Carrier, Transport
from app.services import outbox
from app.services.house import House
from app.services.outbox import Tried
from app.worker.hands import Hands, Held
from app.worker.lines import Line

CLAIM = 500
FIRST_CLAIM = 100
SECONDS_IN_HAND = 5
COMPOSED = 50
SETTLE_EVERY = 0.1
LEASE_SECONDS = 60.0
RENEW_EVERY = 20.0
IDLE_SECONDS = 1.0
DRAIN_SECONDS = 30.0
CLAIM_SECONDS = 2.0
AGAIN_SECONDS = 1.0
PATIENCE_SECONDS = 15.0
"""After the database was away, whoever has answers writes them before leases are taken back."""

_CUT_OFF = Verdict(Outcome.UNKNOWN, "Stopped")

log = structlog.get_logger()


class Delivery:
    """One worker: it fills its hands, empties them on the wire, and writes down the answers."""

    def __init__(self, engine: Engine, house: House, transport: Transport, name: str) -> None:
        """Take what is needed; nothing runs yet. `name` tells this worker from all others."""
        self._engine = engine
        self._house = house
        self._transport = transport
        self._name = name
        self._hands = Hands()
        self._writing = asyncio.Lock()
        self._claim_size = max(FIRST_CLAIM, transport.connections)
        self._rests = True
        self._untried: list[Lease] = []
        self._patient_until = 0.0
        self._composed: dict[tuple[int, int], Message | Verdict] = {}

    async def run(self, wakeups: Wakeups, stop: asyncio.Event, *, until_idle: bool = False) -> None:
        """Deliver until stopped, then finish what is on the wire and give back the rest.

        `until_idle`: return as soon as nothing is due and nothing is in hand.
        """
        senders = [asyncio.create_task(self._send()) for _ in range(self._transport.connections)]
        chores = [asyncio.create_task(self._settle()), asyncio.create_task(self._renew())]
        chores.append(asyncio.create_task(self._stop_on(stop, wakeups)))
        claiming = asyncio.create_task(self._fill(senders, wakeups, stop, until_idle=until_idle))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((claiming, stopped), return_when=asyncio.FIRST_COMPLETED)
            # A claim that is under way ends by itself, unless the database hangs.
            await asyncio.wait((claiming,), timeout=CLAIM_SECONDS)
            if claiming.done():
                claiming.result()
        finally:
            await self._finish(senders, [*chores, claiming, stopped])

    async def _fill(
        self,
        senders: list[asyncio.Task[None]],
        wakeups: Wakeups,
        stop: asyncio.Event,
        *,
        until_idle: bool,
    ) -> None:
        """Claim again and again."""
        while not stop.is_set() and await self._claim(wakeups, until_idle=until_idle):
            _require_running(senders)

    async def _claim(self, wakeups: Wakeups, *, until_idle: bool) -> bool:
        """Fill the hands once, or wait until there is reason to; False if idle and told to end."""
        try:
            if self._has_suspect() or self._hands.has_more_than(self._enough):
                await _at_most(SETTLE_EVERY, self._hands.low)
                return True
            await self._flush()
            wait = await self._claim_once()
            if wait == 0:
                return True
            if until_idle:
                await asyncio.sleep(SETTLE_EVERY / 10)
                return wait is not None or not self._hands.is_empty
            await wakeups.wait(IDLE_SECONDS if wait is None else min(wait, IDLE_SECONDS))
        except Exception as error:  # noqa: BLE001 - the top of the loop: log, and go on
            log.error("claim_failed", error=type(error).__qualname__)
            self._patient_until = time.monotonic() + PATIENCE_SECONDS
            await asyncio.sleep(AGAIN_SECONDS)
        return True

    @property
    def _enough(self) -> int:
        """How many mails in hand are enough not to claim more.

        A pace counts what is claimed, so what waits here would leave all at once after a stall.
        """
        return 0 if self._house.is_paced else self._claim_size

    def _has_suspect(self) -> bool:
        has_one = any(held.lease.suspect for held in self._hands)
        if has_one:
            self._hands.low.clear()
        return has_one

    async def _claim_once(self) -> float | None:
        """Take what is due, never more than about 5 seconds of work.

        Returns after how many seconds it is worth coming back: 0 for at once, None if nothing
        is known to come.
        """
        started = time.monotonic()
        since = self._hands.waits_since
        if since is not None and started - since > SECONDS_IN_HAND:
            self._claim_size = max(self._transport.connections, self._claim_size // 2)
            await asyncio.sleep(SETTLE_EVERY)
            return 0
        hand = await self._engine.write(
            outbox.claim,
            self._house,
            self._name,
            self._transport.name,
            self._claim_size,
            self._reach(started),
        )
        heads, until = hand.letterheads, started + LEASE_SECONDS
        self._hands.take(Held(le, heads[le.newsletter], started, until) for le in hand.leases)
        if len(hand.leases) == self._claim_size:
            self._claim_size = min(CLAIM, self._claim_size * 2)
        return 0 if hand.leases else hand.wait

    def _reach(self, now: float) -> Reach:
        if now < self._patient_until:
            return Reach.DUE
        return Reach.SUSPECTS if self._hands.is_idle else Reach.LAPSED

    async def _send(self) -> None:
        """Send what there is, again and again."""
        line = Line(self._hands, self._message)
        while True:
            await self._hands.ready()
            try:
                await self._carry(line)
            except Exception as error:  # noqa: BLE001 - a defect of a transport must not lose the row
                line.give_up(Verdict(Outcome.UNKNOWN, type(error).__qualname__))

    async def _carry(self, line: Line) -> None:
        if isinstance(self._transport, Carrier):
            await self._transport.carry(line)
        elif message := line.next():
            line.answer(message, await self._transport.send(message))

    def _message(self, held: Held) -> Message | Verdict:
        """Return the mail, or why there is none.

        Those that follow are composed with it: one by one, between waits for the network, they
        find the processor's caches cold, and a mail costs a tenth more in all.
        """
        key = (held.lease.id, held.lease.lease_generation)
        if key not in self._composed:
            group = (held, *self._hands.ahead(COMPOSED - 1))
            self._composed = {
                (each.lease.id, each.lease.lease_generation): self._compose(each) for each in group
            }
        return self._composed.pop(key)

    def _compose(self, held: Held) -> Message | Verdict:
        try:
            return outbox.message(self._house, held.lease, held.letterhead)
        except Exception as error:  # noqa: BLE001 - what cannot be composed is held, and no more
            return Verdict(Outcome.BAD_MESSAGE, type(error).__qualname__)

    async def _settle(self) -> None:
        """Write answers 100 ms after the first, or as soon as there are many."""
        while True:
            await self._hands.answered.wait()
            await _at_most(SETTLE_EVERY, self._hands.many_answered)
            try:
                await self._flush()
            except Exception as error:  # noqa: BLE001 - the top of the loop: log, and try again
                log.error("settle_failed", error=type(error).__qualname__)
                await asyncio.sleep(AGAIN_SECONDS)

    async def _flush(self) -> None:
        """Write every answer that is known, and return what is not to be tried.

        What cannot be written stays in memory.
        """
        async with self._writing:
            if answers := self._hands.answers():
                await self._write(answers)
            if self._untried:
                untried = list(self._untried)
                await self._engine.write(outbox.give_back, untried)
                del self._untried[: len(untried)]

    async def _write(self, answers: list[Tried]) -> None:
        if outbox.is_plain(answers) and not self._rests:
            await self._engine.write_one(outbox.settle_sent, self._house, answers)
        else:
            self._rests = await self._engine.write(
                outbox.settle, self._house, self._transport.name, answers
            )
        self._hands.written(answers)
        _report(answers)
        if self._rests:  # what was not tried is not kept while nothing can be sent
            log.warning("transport_rests", transport=self._transport.name)
            self._untried += self._hands.put_down()

    async def _renew(self) -> None:
        """Prolong every lease in hand; let go of those that are lost."""
        while True:
            await asyncio.sleep(RENEW_EVERY)
            with contextlib.suppress(Exception):  # unrenewed leases are not put on the wire
                await self._renew_once()

    async def _renew_once(self) -> None:
        until = time.monotonic() + LEASE_SECONDS
        ids = self._hands.rows
        ours = await self._engine.write(outbox.renew, self._house, self._name, sorted(ids))
        self._hands.prolong(ids, ours, until)

    async def _stop_on(self, stop: asyncio.Event, wakeups: Wakeups) -> None:
        """Let nothing more go on the wire from the moment of the stop."""
        await stop.wait()
        self._untried += self._hands.put_down()
        wakeups.wake()

    async def _finish(
        self, senders: list[asyncio.Task[None]], chores: list[asyncio.Task[Any]]
    ) -> None:
        """Take nothing more on the wire, wait for what is, settle it, return the rest."""
        self._untried += self._hands.put_down()
        deadline = time.monotonic() + DRAIN_SECONDS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._hands.wire_is_empty()
        for task in (*senders, *chores):
            task.cancel()
        await asyncio.gather(*senders, *chores, return_exceptions=True)
        self._hands.cut_off(_CUT_OFF)
        while self._untried or not self._hands.is_empty:
            try:
                async with asyncio.timeout(max(AGAIN_SECONDS, deadline - time.monotonic())):
                    await self._flush()
            except Exception as error:
                log.error("settle_failed", error=type(error).__qualname__)
                if self._hands.is_empty:
                    return  # leases run out by themselves
                # What was sent and cannot be written down would be sent again: try to the end.
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(AGAIN_SECONDS)


async def _at_most(seconds: float, event: asyncio.Event) -> None:
    # Not wait_for: until Python 3.12 it swallows a cancellation that comes with the event.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _require_running(tasks: list[asyncio.Task[None]]) -> None:
    """Raise what ended a task that should never end: better a restart than a silent worker."""
    for task in tasks:
        if task.done():
            task.result()


def _report(answers: list[Tried]) -> None:
    """Log a line for all that was sent, and one for each message that was not."""
    sent = sum(tried.verdict.outcome is Outcome.SENT for tried in answers)
    if sent:
        log.info("mail", outcome=Outcome.SENT.value, count=sent)
    for lease, verdict in ((tried.lease, tried.verdict) for tried in answers):
        if verdict.outcome is not Outcome.SENT:
            told = {"outcome": verdict.outcome.value, "detail": verdict.detail}
            log.warning("mail", id=lease.id, kind=lease.kind, **told)
