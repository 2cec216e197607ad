"""The worker's life: deliver, sweep and judge until told to stop."""

import asyncio
import os
import secrets
import socket
from dataclasses import dataclass
from datetime import timedelta

import structlog

from app.db.engine import Engine
from app.db.wakeups import Wakeups
from app.mail.transport import Transport
from app.services import breakers, retention
from app.services.house import House
from app.worker.deliver import Delivery

_SWEEP_EVERY = 3600.0
_SWEEP_AGAIN = 1.0
_SWEEP_AFTER_FAILURE = 60.0
_JUDGE_EVERY = 60.0

log = structlog.get_logger()


def worker_name() -> str:
    """Return a name that no other worker has, now or later."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


async def sweep(engine: Engine, house: House, unconfirmed_retention: timedelta) -> None:
    """Remind who has not confirmed, and remove what is kept no longer than needed, every hour."""
    while True:
        seconds = _SWEEP_AFTER_FAILURE
        try:
            count = await engine.write(retention.expire_unconfirmed, house, unconfirmed_retention)
            count += await engine.write(retention.remind, house)
            seconds = _SWEEP_AGAIN if count else _SWEEP_EVERY
        except Exception as error:  # noqa: BLE001 - the top of the loop: log, and go on
            log.error("sweep_failed", error=type(error).__qualname__)
        await asyncio.sleep(seconds)


async def judge(engine: Engine, house: House) -> None:
    """See to the circuit breaker on confirmation mails, every minute."""
    while True:
        try:
            await engine.write(breakers.judge, house)
        except Exception as error:  # noqa: BLE001 - the top of the loop: log, and go on
            log.error("judge_failed", error=type(error).__qualname__)
        await asyncio.sleep(_JUDGE_EVERY)


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker works with."""

    engine: Engine
    house: House
    transport: Transport
    wakeups: Wakeups
    unconfirmed_retention: timedelta

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver and sweep until stopped; then nothing of ours is on the wire or leased."""
        delivery = Delivery(self.engine, self.house, self.transport, worker_name())
        chores = [
            asyncio.create_task(sweep(self.engine, self.house, self.unconfirmed_retention)),
            asyncio.create_task(judge(self.engine, self.house)),
        ]
        log.info("worker_started")
        try:
            await delivery.run(self.wakeups, stop)
        finally:
            for chore in chores:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)
            await self.transport.close()
        log.info("worker_stopped")
