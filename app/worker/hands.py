"""What one worker has in hand: messages that wait, that are on the wire, and answers to write."""

import asyncio
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from app.db.leases import Lease
from app.domain.retry import Verdict
from app.mail.compose import Letterhead
from app.services.outbox import Tried

UNSETTLED = 100
"""So many may be sent twice if this process dies: on the wire, or answered and not written."""
MANY = 50
"""So many answers are worth a transaction while the next ones come in."""


@dataclass(frozen=True, slots=True)
class Held:
    """A message in hand; by our own monotonic clock, since when and until when it is ours."""

    lease: Lease
    letterhead: Letterhead
    since: float
    until: float


class Hands:
    """Everything here happens between two awaits, so nothing needs a lock.

    A sender that finds nothing to do waits in a line of its own: to wake all of them for each
    message would cost more than sending it.
    """

    def __init__(self) -> None:
        """Begin with empty hands."""
        self._waiting: deque[Held] = deque()
        self._on_wire: dict[int, Held] = {}
        self._unsettled: dict[int, Tried] = {}
        self._senders: deque[asyncio.Future[None]] = deque()
        self._free = 0
        self._enough = 0
        self.low = asyncio.Event()
        self.answered = asyncio.Event()
        self.many_answered = asyncio.Event()
        self.off_wire = asyncio.Event()

    def __iter__(self) -> Iterator[Held]:
        """Go through all that are not answered."""
        return iter((*self._waiting, *self._on_wire.values()))

    @property
    def rows(self) -> set[int]:
        """Return the ids of all that is in hand, also of what is answered and not written yet."""
        return {held.lease.id for held in self} | set(self._unsettled)

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing left to do or to write."""
        return not (self._waiting or self._on_wire or self._unsettled)

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing waits and nothing is on the wire."""
        return not (self._waiting or self._on_wire)

    @property
    def waits_since(self) -> float | None:
        """Return since when the first message has waited for a sender."""
        return self._waiting[0].since if self._waiting else None

    def has_more_than(self, enough: int) -> bool:
        """Tell whether more than enough wait; if so, `low` is set when they do no longer."""
        self._enough = enough
        if len(self._waiting) > enough:
            self.low.clear()
            return True
        return False

    def take(self, found: Iterable[Held]) -> None:
        """Take what was claimed."""
        claimed = {held.lease.id: held for held in found}
        # What waits and is claimed again has a new lease; the old one is worth nothing.
        self._waiting = deque(held for held in self._waiting if held.lease.id not in claimed)
        self._waiting.extend(held for held in claimed.values() if not self._is_sent(held))
        self._wake(len(claimed))

    def _is_sent(self, again: Held) -> bool:
        """Tell whether this message has left our hands, by a lease that ran out since.

        Then it must not be sent a second time, and what it comes to settles by the new lease.
        """
        row = again.lease.id
        if row in self._on_wire:
            self._on_wire[row] = again
            return True
        if row in self._unsettled:
            self._unsettled[row] = Tried(again.lease, self._unsettled[row].verdict)
            return True
        return False

    async def ready(self) -> None:
        """Wait until there is a message, and its answer would not be one too many to lose."""
        self._free += 1
        try:
            while not self._waiting or self._is_full:
                turn = asyncio.get_running_loop().create_future()
                self._senders.append(turn)
                await turn
        finally:
            self._free -= 1

    @property
    def _is_full(self) -> bool:
        return len(self._unsettled) + len(self._on_wire) >= UNSETTLED

    def next(self, *, ahead: bool = False) -> Held | None:
        """Return the next message, which is on the wire from now on; None if none may go.

        `ahead`: it would have to wait on the wire, so a sender that is free takes precedence.
        """
        enough = self._free if ahead else 0
        if len(self._waiting) <= enough or self._is_full:
            return None
        held = self._waiting.popleft()
        self._on_wire[held.lease.id] = held
        if len(self._waiting) <= self._enough:
            self.low.set()
        return held

    def is_ours(self, row: int, until: float) -> bool:
        """Tell whether a message on the wire is ours until then."""
        return self._on_wire[row].until >= until

    def ahead(self, count: int) -> list[Held]:
        """Return those that are sent next, if nothing comes between."""
        return list(itertools.islice(self._waiting, count))

    def _wake(self, count: int) -> None:
        for _ in range(min(count, len(self._senders))):
            turn = self._senders.popleft()
            if not turn.done():
                turn.set_result(None)

    def put_back(self, row: int) -> None:
        """Take a message off the wire that was not sent; it is the next one to go."""
        self._waiting.appendleft(self._on_wire.pop(row))
        if not self._on_wire:
            self.off_wire.set()
        self._wake(1)

    def answer(self, row: int, verdict: Verdict | None) -> None:
        """Take a message off the wire; without a verdict it was never tried, and is let go."""
        held = self._on_wire.pop(row)
        if not self._on_wire:
            self.off_wire.set()
        if verdict is None:
            self._wake(1)
            return
        self._unsettled[row] = Tried(held.lease, verdict)
        self.answered.set()
        if len(self._unsettled) >= MANY:
            self.many_answered.set()

    def answers(self) -> list[Tried]:
        """Return every answer that is not written yet."""
        return list(self._unsettled.values())

    def written(self, answers: Sequence[Tried]) -> None:
        """Forget these answers: they are in the database."""
        for tried in answers:
            del self._unsettled[tried.lease.id]
        if not self._unsettled:
            self.answered.clear()
        if len(self._unsettled) < MANY:
            self.many_answered.clear()
        self._wake(len(answers))

    def put_down(self) -> list[Lease]:
        """Let go of all that waits, and return it."""
        waiting = [held.lease for held in self._waiting]
        self._waiting.clear()
        self.low.set()
        return waiting

    def prolong(self, asked: set[int], ours: set[int], until: float) -> None:
        """Keep of the messages asked about only ours; what was claimed meanwhile stays."""
        lost = asked - ours
        for row, held in self._on_wire.items():
            if row in asked:
                self._on_wire[row] = replace(held, until=until if row in ours else 0.0)
        self._waiting = deque(
            replace(held, until=until) if held.lease.id in ours else held
            for held in self._waiting
            if held.lease.id not in lost
        )

    async def wire_is_empty(self) -> None:
        """Wait until nothing is on the wire."""
        while self._on_wire:
            self.off_wire.clear()
            await self.off_wire.wait()

    def cut_off(self, verdict: Verdict) -> None:
        """Answer for all that is on the wire: nobody waits for it any longer."""
        for row in list(self._on_wire):
            self.answer(row, verdict)
