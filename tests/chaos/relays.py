"""A real mail server that answers as the test tells it, and writes down all that it is given."""

import asyncio
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import cast

from tests.chaos.loops import Loop
from tests.mail.servers import DROP, HANG

__all__ = [
    "DROP",
    "HANG",
    "LOSE",
    "Mail",
    "Phase",
    "Relay",
    "always",
    "once_each",
    "only_for",
    "relaying",
]


class Phase(StrEnum):
    """What the server has heard and has not answered yet."""

    GREETING = ""
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    DOT = "."


_REPLIES = {
    Phase.GREETING: "220 ready",
    Phase.STARTTLS: "220 go",
    Phase.MAIL: "250 2.1.0 ok",
    Phase.RCPT: "250 2.1.5 ok",
    Phase.DATA: "354 go on",
    Phase.DOT: "250 2.0.0 queued",
}
LOSE = "lose"
"""The connection is dropped after the final dot, and the mail thrown away."""

_VERBS = {"EHLO", "STARTTLS", "MAIL", "RCPT", "DATA"}
_OTHERS = {"RSET": "250 ok", "NOOP": "250 ok", "QUIT": "221 bye"}


@dataclass(eq=False)
class Mail:
    """One mail that was offered: where, by whom, when each phase began, what was answered."""

    port: int
    connection: int
    recipient: str = ""
    message_id: str = ""
    content: int = 0
    times: dict[Phase, float] = field(default_factory=dict)
    refusal: str = ""
    is_taken: bool = False
    """All of it came, and was not refused: the server may well deliver it."""
    is_answered: bool = False
    """The 250 was written to a connection that stood."""
    is_betrayed: bool = False
    """It was taken, and the script made the server say something else, or nothing."""

    @property
    def row(self) -> int:
        """The outbox row, which a Message-ID begins with."""
        return int(self.message_id.partition(".")[0])


Rule = Callable[[Mail], str | None]


class Relay:
    """One server, with a port of its own for each worker, so that the log tells them apart.

    `answers` replaces what is said in a phase: a reply, HANG, DROP or LOSE; None for the usual.
    A phase that is held is not answered until it is released. Each content is answered after
    `pace` seconds. After 421 the connection is closed (RFC 5321 3.8).
    """

    def __init__(self, loop: Loop) -> None:
        self.mails: list[Mail] = []
        self.links: list[Link] = []
        self.answers: dict[Phase, Rule] = {}
        self.offers = ["PIPELINING", "SIZE 10000000", "ENHANCEDSTATUSCODES", "8BITMIME"]
        self.tls: ssl.SSLContext | None = None
        self.injected = b""
        self.pace = 0.0
        self._loop = loop
        self._held: dict[Phase, int] = {}
        self._parked: list[Link] = []
        self._servers: list[asyncio.Server] = []

    def listen(self) -> int:
        """Return a new port."""
        return self._loop.run(self._listen())

    async def _listen(self) -> int:
        opened = socket.create_server(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
        server = await self._loop.loop.create_server(lambda: Link(self, port), sock=opened)
        self._servers.append(server)
        return port

    def hold(self, *phases: Phase) -> None:
        """Answer none of these phases any more."""
        for phase in phases:
            self._held[phase] = 0

    def let(self, phase: Phase, count: int) -> None:
        """Answer so many of a phase that is held, and go on holding it."""
        self._loop.run(self._let(phase, count))

    async def _let(self, phase: Phase, count: int) -> None:
        ready = [link for link in self._parked if link.at is phase][:count]
        self._held[phase] += count - len(ready)
        for link in ready:
            self._unpark(link)

    def release(self, *phases: Phase) -> None:
        """Answer these phases again, also where the script has hung; without names, all."""
        self._loop.run(self._release(phases or tuple(Phase)))

    async def _release(self, phases: tuple[Phase, ...]) -> None:
        for phase in phases:
            self._held.pop(phase, None)
        for link in [link for link in self._parked if link.at in phases]:
            self._unpark(link)

    def _unpark(self, link: "Link") -> None:
        self._parked.remove(link)
        link.resume()

    def parked(self, phase: Phase) -> int:
        """Return how many connections wait for an answer in this phase."""
        return sum(link.at is phase for link in tuple(self._parked))

    def drop_all(self) -> None:
        """Close every connection at once, as a server that is restarted."""
        self._loop.run(self._drop_all())

    async def _drop_all(self) -> None:
        for link in self.links:
            link.drop()

    def catch_up(self) -> None:
        """Read what dead processes have left in the sockets."""
        self._loop.run(self._turns())

    async def _turns(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        await self._drop_all()
        await self._turns()

    def reply(self, phase: Phase, mail: Mail) -> str:
        """Say what the script has for this phase; for RCPT and DATA only if it can be meant."""
        if mail.refusal:
            return "503 5.5.1 bad sequence"
        rule = self.answers.get(phase)
        return (rule(mail) if rule else None) or self.usual(phase)

    def usual(self, phase: Phase) -> str:
        if phase is not Phase.EHLO:
            return _REPLIES[phase]
        offers = ["relay", *self.offers, *(["STARTTLS"] if self.tls else [])]
        marks = ["-"] * (len(offers) - 1) + [" "]
        return "\r\n".join(f"250{mark}{offer}" for mark, offer in zip(marks, offers, strict=True))

    def may_answer(self, link: "Link", reply: str) -> bool:
        """Tell whether the gate is open; else the connection is parked in front of it."""
        phase = cast("Phase", link.at)
        if reply != HANG and self._held.get(phase, 1) > 0:
            if phase in self._held:
                self._held[phase] -= 1
            return True
        self._parked.append(link)
        return False

    def forget(self, link: "Link") -> None:
        if link in self._parked:
            self._parked.remove(link)

    @property
    def taken(self) -> list[Mail]:
        return [mail for mail in tuple(self.mails) if mail.is_taken]

    @property
    def arrivals(self) -> Counter[int]:
        """How often each outbox row was taken."""
        return Counter(mail.row for mail in self.taken)

    def answered(self, port: int | None = None) -> set[int]:
        """Return the rows that were answered with 250, to one worker or to any."""
        return {m.row for m in self.taken if m.is_answered and port in {None, m.port}}


class Link(asyncio.Protocol):
    """One connection: reads commands as they come, many in one packet, and answers in order."""

    transport: asyncio.Transport

    def __init__(self, relay: Relay, port: int) -> None:
        self.port = port
        self.at: Phase | None = None
        self.in_clear: list[str] = []
        self.has_run_ahead = False
        self._relay = relay
        self._buffer = b""
        self._reply = ""
        self._in_content = False
        self.is_encrypted = False
        self._mail = Mail(port, 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._relay.links.append(self)
        self.number = len(self._relay.links)
        self._reach(Phase.GREETING)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._relay.forget(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._read()

    def _read(self) -> None:
        while self.at is None and not self.transport.is_closing():
            piece = self._content() if self._in_content else self._line()
            if piece is None:
                return
            self._hear(piece)

    def _line(self) -> bytes | None:
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return None
        self._buffer = rest
        return line

    def _content(self) -> bytes | None:
        ending = 0 if self._buffer.startswith(b".\r\n") else self._buffer.find(b"\r\n.\r\n") + 2
        if ending == 1:  # not found
            return None
        content, self._buffer = self._buffer[:ending], self._buffer[ending + 3 :]
        return content

    def _hear(self, piece: bytes) -> None:
        if self._in_content:
            self._take(piece)
            return
        line = piece.decode()
        verb = line.split(" ")[0].upper()
        if not self.is_encrypted:
            self.in_clear.append(verb)
        self.has_run_ahead |= verb == "MAIL" and bool(self._buffer)
        if verb in {"MAIL", "RSET"}:
            self._mail = Mail(self.port, self.number)
        if verb == "MAIL":
            self._relay.mails.append(self._mail)
        if verb == "RCPT":
            self._mail.recipient = line.partition("<")[2].partition(">")[0]
        if verb in _VERBS:
            self._reach(Phase(verb))
        else:
            self.transport.write(f"{_OTHERS.get(verb, '500 5.5.1 what?')}\r\n".encode())
            if verb == "QUIT":
                self.transport.close()

    def _take(self, content: bytes) -> None:
        found = content.partition(b"Message-ID: <")[2].partition(b">")[0]
        self._mail.message_id, self._mail.content = found.decode(), hash(content)
        self._in_content = False
        self._reach(Phase.DOT)

    def _reach(self, phase: Phase) -> None:
        self.at = phase
        self._mail.times[phase] = time.monotonic()
        self._reply = self._relay.reply(phase, self._mail)
        if phase is Phase.DOT:
            self._mail.is_taken = not self._reply.startswith(("4", "5", LOSE))
            self._mail.is_betrayed = self._mail.is_taken and not self._reply.startswith("2")
        if not self._relay.may_answer(self, self._reply):
            return
        if phase is Phase.DOT and self._relay.pace:
            asyncio.get_running_loop().call_later(self._relay.pace, self.resume)
        else:
            self._answer()

    def resume(self) -> None:
        """Answer, and read on."""
        self._answer()
        self._read()

    def drop(self) -> None:
        """Close at once; the worker may not have read the last answer."""
        if not self.transport.is_closing():
            self._mail.is_betrayed = self._mail.is_taken
            self.transport.abort()

    def _answer(self) -> None:
        phase, self.at = cast("Phase", self.at), None
        reply = self._relay.usual(phase) if self._reply == HANG else self._reply
        if self.transport.is_closing():
            return
        if reply in {DROP, LOSE}:
            self.transport.abort()
            return
        if phase is Phase.STARTTLS and reply.startswith("2"):
            self._start_tls(reply)
            return
        self.transport.write(f"{reply}\r\n".encode())
        if reply.startswith(("4", "5")):
            self._mail.refusal = self._mail.refusal or reply
        if reply.startswith("421"):
            self.transport.close()
        self._in_content = phase is Phase.DATA and reply.startswith("354")
        if phase is Phase.DOT:
            self._mail.is_answered = reply.startswith("250")
            self._mail.is_betrayed = self._mail.is_taken and not self._mail.is_answered

    def _start_tls(self, reply: str) -> None:
        self.at = Phase.STARTTLS  # what comes next has to wait for the new transport
        self.transport.pause_reading()  # the handshake is not for us
        self.transport.write(f"{reply}\r\n".encode() + self._relay.injected)
        self._task = asyncio.ensure_future(self._encrypt())

    async def _encrypt(self) -> None:
        loop, context = asyncio.get_running_loop(), cast("ssl.SSLContext", self._relay.tls)
        try:
            made = await loop.start_tls(self.transport, self, context, server_side=True)
        except OSError:
            return
        self.transport, self.is_encrypted = cast("asyncio.Transport", made), True
        self.at = None
        self._read()


def once_each(reply: str) -> Rule:
    """Say it to the first try for each recipient; before MAIL, on the first connection."""
    seen: set[str] = set()

    def rule(mail: Mail) -> str | None:
        if mail.recipient in seen:
            return None
        seen.add(mail.recipient)
        return reply

    return rule


def only_for(recipient: str, reply: str) -> Rule:
    return lambda mail: reply if mail.recipient == recipient else None


def always(reply: str) -> Rule:
    return lambda _: reply


@contextmanager
def relaying(loop: Loop) -> Iterator[Relay]:
    relay = Relay(loop)
    try:
        yield relay
    finally:
        loop.run(relay.close())
