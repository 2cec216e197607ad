"""Batches without a timer: what arrives while requests are under way is the next batch."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Generic, TypeVar

from app.domain.retry import Outcome, Verdict

Item = TypeVar("Item")

_QUIET_TURNS = 3
"""Turns of the event loop: senders that wake each other up come one in a turn or two."""

_LOST = Verdict(Outcome.UNKNOWN, "Closed")
_LEFT = Verdict(Outcome.RETRY_TRANSPORT, "Closed")


class Batches(Generic[Item]):
    """A line of items in front of a call that takes many, at most `at_once` calls behind it."""

    def __init__(
        self,
        deliver: Callable[[Sequence[Item]], AsyncIterator[Verdict]],
        size: int,
        at_once: int,
    ) -> None:
        """Take the call, which tells one verdict for each item, and the most it may be given.

        A verdict is passed on as soon as it is told, in the order of the items.
        """
        self._deliver = deliver
        self._size = size
        self._at_once = at_once
        self._waiting: deque[tuple[Item, asyncio.Future[Verdict]]] = deque()
        self._tasks: set[asyncio.Task[None] | None] = set()

    async def send(self, item: Item) -> Verdict:
        """Return the verdict on one item.

        A caller that goes away takes its item out of the line; a batch that is on its way goes on.
        """
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._tasks) < self._at_once:
            self._tasks.add(asyncio.create_task(self._work_off()))
        return await future

    async def close(self) -> None:
        """Give up what is on its way and what waits; nobody waits for an answer any more."""
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        _settle(self._waiting, [_LEFT] * len(self._waiting))
        self._waiting.clear()

    async def _work_off(self) -> None:
        try:
            while batch := await self._next():
                await self._carry(batch)
        finally:
            # Here and not in a callback: whoever comes next must not count on this task.
            self._tasks.discard(asyncio.current_task())

    async def _next(self) -> list[tuple[Item, asyncio.Future[Verdict]]]:
        """Take a batch, as soon as nobody is just stepping up to the line."""
        seen, quiet = 0, 0
        while quiet < _QUIET_TURNS and len(self._waiting) < self._size:
            quiet = quiet + 1 if len(self._waiting) == seen else 0
            seen = len(self._waiting)
            await asyncio.sleep(0)
        batch: list[tuple[Item, asyncio.Future[Verdict]]] = []
        while self._waiting and len(batch) < self._size:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch

    async def _carry(self, batch: list[tuple[Item, asyncio.Future[Verdict]]]) -> None:
        told, lost = 0, _LOST
        try:
            async for verdict in self._deliver([item for item, _ in batch]):
                _settle(batch[told : told + 1], [verdict])
                told += 1
        except Exception as error:  # noqa: BLE001 - a defect must not leave anybody waiting
            lost = Verdict(Outcome.UNKNOWN, type(error).__name__)
        finally:
            _settle(batch[told:], [lost] * len(batch[told:]))


def _settle(
    batch: Sequence[tuple[Item, "asyncio.Future[Verdict]"]], verdicts: Sequence[Verdict]
) -> None:
    for (_, future), verdict in zip(batch, verdicts, strict=True):
        if not future.done():
            future.set_result(verdict)
