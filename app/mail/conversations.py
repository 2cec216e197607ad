"""An SMTP connection that is ready for mail: commands out, replies in, in the order of both."""

import asyncio
import functools
import re
from collections import deque
from typing import NamedTuple, cast

from aiosmtplib import SMTPResponseException, SMTPServerDisconnected, SMTPStatus

_REPLY_OCTETS = 32 * 1024
"""RFC 5321 4.5.3.1.5 gives a line 512; no server needs more than this for a whole reply."""


_REPLY = re.compile(rb"([0-9]{3})([ \r-])")


class Reply(NamedTuple):
    """A reply code, and the reply's first line."""

    code: int
    line: bytes

    @property
    def text(self) -> str:
        """What stands after the code."""
        return self.line[4:].decode("ascii", "replace").strip()


class Conversation(asyncio.Protocol):
    """Several commands may be written before the first reply is read (RFC 2920).

    A `StreamReader` costs half of the speed: it wakes a task for each line.
    """

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        """Take over a connection whose last reply has been read."""
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", transport)
        self._rest = b""
        self._begun: Reply | None = None
        self._octets = 0
        self._replies: deque[Reply] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._transport.set_protocol(self)

    @property
    def is_quiet(self) -> bool:
        """Tell whether the connection stands, and the server has said nothing unasked."""
        return not (self.has_unasked or self._error or self._transport.is_closing())

    @property
    def has_unasked(self) -> bool:
        """Tell whether the server has said more than it was asked for."""
        return bool(self._replies or self._rest or self._begun)

    def write(self, data: bytes) -> None:
        """Send; raises SMTPServerDisconnected if the connection is known to be gone."""
        if self._error is not None:
            raise self._error
        if self._transport.is_closing():
            raise SMTPServerDisconnected("Connection lost")
        self._transport.write(data)

    def heard(self) -> Reply | None:
        """Return the next reply if it is there already: that costs a third of waiting for it."""
        return self._replies.popleft() if self._replies else None

    async def reply(self, timeout: float) -> Reply:  # noqa: ASYNC109 - a timer is cheaper
        """Return the next reply.

        Raises TimeoutError after so many seconds, SMTPServerDisconnected, or SMTPResponseException
        if what the server says is no reply.
        """
        if not self._replies:
            if self._error is not None:
                raise self._error
            self._waiting = self._loop.create_future()
            timer = self._loop.call_later(timeout, self._fail, TimeoutError())
            try:
                await self._waiting
            finally:
                timer.cancel()
                self._waiting = None
        return self._replies.popleft()

    async def arrives(self, seconds: float) -> bool:
        """Wait for a reply; False if there is none after so many seconds.

        Raises as `reply` does, but for a time-out.
        """
        if not self._replies and self._error is None:
            self._waiting = self._loop.create_future()
            timer = self._loop.call_later(seconds, self._wake)
            try:
                await self._waiting
            finally:
                timer.cancel()
                self._waiting = None
        return bool(self._replies or self._error)

    def close(self) -> None:
        """Close when all that was written has left."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what has not left yet never will."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if not self._hear(line):
                break
        else:
            if len(self._rest) <= _REPLY_OCTETS:
                if self._replies:
                    self._wake()
                return
        self._fail(SMTPResponseException(SMTPStatus.invalid_response, ""))

    def _hear(self, line: bytes) -> bool:
        """Take one line of a reply; False if it is none, or one too many."""
        self._octets += len(line)
        if self._octets > _REPLY_OCTETS:
            return False
        reply, is_last = _read(line)
        if reply is None:
            return False
        if self._begun is None:
            self._begun = reply
        if reply.code != self._begun.code:  # which one counts? (RFC 5321 4.2.1)
            return False
        if is_last:
            self._replies.append(self._begun)
            self._begun, self._octets = None, 0
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        lost = SMTPServerDisconnected("Connection lost")
        lost.__cause__ = exc
        self._fail(lost)

    def _fail(self, error: Exception) -> None:
        """Let the reader know, once it has read what came before, and end the connection."""
        if self._error is None:
            self._error = error
            self._transport.abort()
        if not self._replies and self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(self._error)
        else:
            self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


@functools.lru_cache(maxsize=64)
def _read(line: bytes) -> tuple[Reply | None, bool]:
    """Return what a line says, None if it is no reply, and whether the reply ends with it.

    Of the replies to a message three are the same as those to the last.
    """
    found = _REPLY.match(line)
    return (Reply(int(found[1]), line), found[2] != b"-") if found else (None, False)
