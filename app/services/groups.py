"""Group commit: commands that arrive while a transaction runs form the next one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from app.domain.errors import Busy, Problem, Unavailable
from app.services.commands import Command, Done, Result

GROUP = 256
WAITING_LINE = 2_000

Run = Callable[[Sequence[Command]], Awaitable[list[Result]]]
_Waiting = tuple[Command, "asyncio.Future[Result | Exception]"]


class Groups:
    """A bounded waiting line in front of the door, one transaction at a time behind it."""

    def __init__(self, run: Run, on_commit: Callable[[], None] | None = None) -> None:
        """Take what carries out a list in one transaction, and who to tell that it committed."""
        self._run = run
        self._on_commit = on_commit
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, command: Command) -> Done:
        """Return the answer once the command's own transaction is committed.

        A caller that goes away does not undo it. Raises the Problem that refused the command,
        Busy if the line is full or closed, Unavailable if the database is away.
        """
        if self._closed or len(self._waiting) >= WAITING_LINE:
            raise Busy("Too many requests are waiting. Try again in a moment.")
        future: asyncio.Future[Result | Exception] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work_off())
        result = await asyncio.shield(future)
        if isinstance(result, Exception):
            raise result
        return result

    async def close(self) -> None:
        """Take nothing more, and wait until all that was taken is committed."""
        self._closed = True
        if self._task is not None:
            await self._task

    async def _work_off(self) -> None:
        while self._waiting:
            group = list(islice(self._waiting, GROUP))
            for _ in group:
                self._waiting.popleft()
            await self._commit(group)

    async def _commit(self, group: list[_Waiting]) -> None:
        results = await self._attempt([command for command, _ in group])
        if len(results) == 1 and isinstance(results[0], Exception) and _is_fault(results[0]):
            # Something in the group is bad, or lost a race: alone, only the bad one fails.
            results = [(await self._attempt([command]))[0] for command, _ in group]
        for (_, future), result in zip(group, results, strict=True):
            if not future.done():
                future.set_result(result)

    async def _attempt(self, commands: list[Command]) -> list[Result | Exception]:
        try:
            results: list[Result | Exception] = list(await self._run(commands))
        except Unavailable as away:
            return [away] * len(commands)
        except Exception as error:  # noqa: BLE001 - whatever a command does, the next must run
            return [error]
        if self._on_commit is not None:
            self._on_commit()
        return results


def _is_fault(result: Exception) -> bool:
    return not isinstance(result, Problem)
