"""Sends mail over SMTP, one message per transaction, judged by where it went wrong."""

import asyncio
import contextlib
import re
import ssl
from dataclasses import dataclass

from aiosmtplib import (
    SMTPException,
    SMTPResponseException,
    SMTPStatus,
)

from app.domain.retry import Outcome, Verdict
from app.mail.connections import Connection, Connections, Offers, Server, Timeouts
from app.mail.conversations import Reply
from app.mail.message import Message
from app.mail.replies import SERVICE_CLOSING, Phase, classify, failure

_ENVELOPE = re.compile(r"[^\s\x00-\x20\x7f-\x9f<>]+@[^\s\x00-\x20\x7f-\x9f<>@]+")


_NO_BREAKS = bytes(set(range(256)) - set(b"\r\n\0"))
_OPENING = (Phase.MAIL, Phase.RCPT, Phase.DATA)


class Stale(Exception):
    """A kept connection had died before the server heard of this message."""


class SmtpTransport:
    """One SMTP server, and at most `connections` connections to it."""

    name = "smtp"

    def __init__(
        self,
        server: Server,
        connections: int,
        timeouts: Timeouts | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """Connect to nobody yet; `context` replaces the system's certificates."""
        self.connections = connections
        self.server = server
        self._timeouts = timeouts or Timeouts()
        self._slots = asyncio.Semaphore(connections)
        self._pool = Connections(server, self._timeouts, context)

    async def send(self, message: Message) -> Verdict:
        """Send one message; every trouble becomes a verdict, and only cancellation is raised."""
        if not _is_safe(message):
            return Verdict(Outcome.BAD_MESSAGE, "UnsafeMessage")
        async with self._slots:
            try:
                connection = await self._pool.take()
                with contextlib.suppress(Stale):
                    return await self._transact(connection, message)
                return await self._transact(await self._pool.open(), message)
            except (SMTPException, OSError) as error:
                return failure(Phase.CONNECT, error)

    async def close(self) -> None:
        """Say goodbye to the server."""
        await self._pool.close()

    async def _transact(self, connection: Connection, message: Message) -> Verdict:
        """Carry one message over a connection, and keep the connection only if all is well."""
        transaction = Transaction(connection, self._timeouts)
        try:
            verdict = await transaction.run(message)
        except (SMTPException, OSError) as error:
            connection.talk.abort()
            if connection.uses and transaction.phase is Phase.MAIL and _is_farewell(error):
                raise Stale from error
            return failure(transaction.phase, error)
        except BaseException:
            connection.talk.abort()
            raise
        self._pool.give_back(connection)
        return verdict


@dataclass(slots=True)
class Transaction:
    """MAIL, RCPT, DATA and the message; `phase` tells how far it came."""

    connection: Connection
    timeouts: Timeouts
    phase: Phase = Phase.MAIL

    async def run(self, message: Message) -> Verdict:
        """Return the verdict; the connection is ready for the next message then.

        Raises SMTPException or OSError if the connection is of no more use.
        """
        content = _with_dots(message.content)
        options = _options(self.connection.offers, message, len(content))
        if options is None:
            return Verdict(Outcome.BAD_MESSAGE, "SmtpUtf8NotOffered")
        refused = await self._open(
            f"MAIL FROM:<{message.sender}>{options}\r\n".encode(),
            f"RCPT TO:<{message.recipient}>\r\n".encode(),
            b"DATA\r\n",
        )
        return refused or await self._send(content)

    async def _open(self, *commands: bytes) -> Verdict | None:
        """Say who it is from and for; None if the server wants the message.

        All three commands go out at once where the server can take that (RFC 2920), which leaves
        two round trips a message of four.
        """
        talk, at_once = self.connection.talk, self.connection.offers.pipelining
        if at_once:
            talk.write(b"".join(commands))
        for index, (command, phase) in enumerate(zip(commands, _OPENING, strict=True)):
            if not at_once:
                talk.write(command)
            self.phase = phase
            reply = await talk.reply(self._patience(phase))
            if not _goes_on(phase, reply):
                await self._reset(len(_OPENING) - 1 - index if at_once else 0)
                return classify(phase, reply.code, reply.text)
        return None

    def _patience(self, phase: Phase) -> float:
        return self.timeouts.data if phase is Phase.DATA else self.timeouts.command

    async def _send(self, content: bytes) -> Verdict:
        talk = self.connection.talk
        talk.write(content)
        self.phase = Phase.DOT
        reply = await talk.reply(self.timeouts.dot)
        _goes_on(self.phase, reply)
        return classify(self.phase, reply.code, reply.text)

    async def _reset(self, unread: int) -> None:
        """Clear the envelope on the server; if that fails the connection is dropped, no more.

        A server may want the message although nobody is left to get it: it is sent an empty one
        (RFC 2920 3.1).
        """
        talk, timeout = self.connection.talk, self.timeouts.connect
        try:
            replies = [await talk.reply(timeout) for _ in range(unread)]
            if replies and replies[-1].code == SMTPStatus.start_input:
                talk.write(b".\r\n")
                await talk.reply(timeout)
            talk.write(b"RSET\r\n")
            reset = await talk.reply(timeout)
        except (SMTPException, OSError):
            talk.abort()
            return
        if reset.code != SMTPStatus.completed:
            talk.abort()


def _goes_on(phase: Phase, reply: Reply) -> bool:
    """Tell acceptance from refusal; whatever else the server says ends the connection."""
    if reply.code // 100 == (3 if phase is Phase.DATA else 2):
        return True
    if reply.code // 100 in {4, 5} and reply.code != SERVICE_CLOSING:
        return False
    raise SMTPResponseException(reply.code, reply.text)


def _is_farewell(error: Exception) -> bool:
    closing = isinstance(error, SMTPResponseException) and error.code == SERVICE_CLOSING
    return closing or isinstance(error, ConnectionError)


def _is_safe(message: Message) -> bool:
    """Check what could be read as a second command or a second message.

    aiosmtplib cuts such an address short without a word; and a bare CR or LF before a dot is
    the end of the mail to some servers, and the rest of it a mail of its own.
    """
    content = message.content
    clean = len(content.translate(None, _NO_BREAKS)) == 2 * content.count(b"\r\n")
    return clean and all(_ENVELOPE.fullmatch(a) for a in (message.sender, message.recipient))


def _options(offers: Offers, message: Message, size: int) -> str | None:
    """Return the parameters of MAIL; None if this server cannot take a non-ASCII address."""
    options = f" SIZE={size}" if offers.size else ""
    if message.content.isascii() and (message.sender + message.recipient).isascii():
        return options
    if not offers.smtputf8:
        return None
    return f"{options} BODY=8BITMIME SMTPUTF8"


def _with_dots(content: bytes) -> bytes:
    """Return the message as it follows DATA: dots doubled, a dot at the end (RFC 5321 4.5.2)."""
    ending = b".\r\n" if content.endswith(b"\r\n") else b"\r\n.\r\n"
    if b"\r\n." in content or content.startswith(b"."):  # it seldom is: save two copies
        content = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
    return content + ending
