"""What one sender has in front of it: messages out of the hands, and answers back into them."""

import time
from collections.abc import Callable

from app.domain.retry import Verdict
from app.mail.message import Message
from app.worker.hands import Hands, Held

SPARE_SECONDS = 10.0
"""A message whose lease has less left is not put on the wire."""


class Line:
    """What one sender takes from the hands, message by message, and must answer for."""

    def __init__(self, hands: Hands, compose: Callable[[Held], Message | Verdict]) -> None:
        """Take the hands, and what makes a message of what they hold."""
        self._hands = hands
        self._compose = compose
        self._open: set[int] = set()

    def next(self, *, ahead: bool = False) -> Message | None:
        """See app.mail.runs.Mails."""
        while held := self._hands.next(ahead=ahead):
            if held.until - time.monotonic() < SPARE_SECONDS:
                self._hands.answer(held.lease.id, None)  # another worker may take it any moment
                continue
            message = self._compose(held)
            if not isinstance(message, Verdict):
                self._open.add(message.id)
                return message
            self._hands.answer(held.lease.id, message)
        return None

    def keeps(self, message: Message) -> bool:
        """See app.mail.runs.Mails."""
        if self._hands.is_ours(message.id, time.monotonic() + SPARE_SECONDS):
            return True
        self._open.remove(message.id)
        self._hands.answer(message.id, None)
        return False

    def put_back(self, message: Message) -> None:
        """See app.mail.runs.Mails."""
        self._open.remove(message.id)
        self._hands.put_back(message.id)

    def answer(self, message: Message, verdict: Verdict) -> None:
        """See app.mail.runs.Mails."""
        self._open.remove(message.id)
        self._hands.answer(message.id, verdict)

    def give_up(self, verdict: Verdict) -> None:
        """Answer for all that is not answered."""
        for row in self._open:
            self._hands.answer(row, verdict)
        self._open.clear()
