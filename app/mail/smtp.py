"""Sends mail over SMTP, one message per transaction, judged by where it went wrong."""

import asyncio
import contextlib
import re
import ssl
from dataclasses import dataclass

from aiosmtplib import (
    SMTP,
    SMTPException,
    SMTPResponse,
    SMTPResponseException,
    SMTPServerDisconnected,
    SMTPStatus,
)

from app.domain.retry import Outcome, Verdict
from app.mail.connections import Connection, Connections, Server, Timeouts
from app.mail.message import Message
from app.mail.replies import SERVICE_CLOSING, Phase, classify, failure

_ENVELOPE = re.compile(r"[^\s\x00-\x20\x7f-\x9f<>]+@[^\s\x00-\x20\x7f-\x9f<>@]+")


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
        transaction = Transaction(connection.client, self._timeouts)
        try:
            verdict = await transaction.run(message)
        except (SMTPException, OSError) as error:
            connection.abort()
            if connection.uses and transaction.phase is Phase.MAIL and _is_farewell(error):
                raise Stale from error
            return failure(transaction.phase, error)
        except BaseException:
            connection.abort()
            raise
        self._pool.give_back(connection)
        return verdict


@dataclass(slots=True)
class Transaction:
    """MAIL, RCPT, DATA and the message; `phase` tells how far it came."""

    client: SMTP
    timeouts: Timeouts
    phase: Phase = Phase.MAIL

    async def run(self, message: Message) -> Verdict:
        """Return the verdict; the connection is ready for the next message then.

        Raises SMTPException or OSError if the connection is of no more use.
        """
        content = _with_dots(message.content)
        options = _options(self.client, message, len(content))
        if options is None:
            return Verdict(Outcome.BAD_MESSAGE, "SmtpUtf8NotOffered")
        commands = (
            (Phase.MAIL, f"MAIL FROM:<{message.sender}>{options}", self.timeouts.command),
            (Phase.RCPT, f"RCPT TO:<{message.recipient}>", self.timeouts.command),
            (Phase.DATA, "DATA", self.timeouts.data),
        )
        for self.phase, command, timeout in commands:
            reply = await self.client.execute_command(command.encode(), timeout=timeout)
            if not _goes_on(self.phase, reply):
                await self._reset()
                return classify(self.phase, reply.code, reply.message)
        return await self._send(content)

    async def _send(self, content: bytes) -> Verdict:
        protocol = self.client.protocol
        if protocol is None:
            raise SMTPServerDisconnected("Connection lost")
        protocol.write(content)
        self.phase = Phase.DOT
        reply = await protocol.read_response(timeout=self.timeouts.dot)
        _goes_on(self.phase, reply)
        return classify(self.phase, reply.code, reply.message)

    async def _reset(self) -> None:
        """Clear the envelope on the server; if that fails the connection is dropped, no more."""
        try:
            reply = await self.client.execute_command(b"RSET", timeout=self.timeouts.connect)
        except (SMTPException, OSError):
            self.client.close()
            return
        if reply.code != SMTPStatus.completed:
            self.client.close()


def _goes_on(phase: Phase, reply: SMTPResponse) -> bool:
    """Tell acceptance from refusal; whatever else the server says ends the connection."""
    if reply.code // 100 == (3 if phase is Phase.DATA else 2):
        return True
    if reply.code // 100 in {4, 5} and reply.code != SERVICE_CLOSING:
        return False
    raise SMTPResponseException(reply.code, reply.message)


def _is_farewell(error: Exception) -> bool:
    closing = isinstance(error, SMTPResponseException) and error.code == SERVICE_CLOSING
    return closing or isinstance(error, ConnectionError)


def _is_safe(message: Message) -> bool:
    """Check what could be read as a second command or a second message.

    aiosmtplib cuts such an address short without a word; and a bare CR or LF before a dot is
    the end of the mail to some servers, and the rest of it a mail of its own.
    """
    content = message.content
    ends = content.count(b"\r\n")
    clean = ends == content.count(b"\n") == content.count(b"\r") and b"\0" not in content
    return clean and all(_ENVELOPE.fullmatch(a) for a in (message.sender, message.recipient))


def _options(client: SMTP, message: Message, size: int) -> str | None:
    """Return the parameters of MAIL; None if this server cannot take a non-ASCII address."""
    options = f" SIZE={size}" if client.supports_extension("size") else ""
    if message.content.isascii() and (message.sender + message.recipient).isascii():
        return options
    if not client.supports_extension("smtputf8"):
        return None
    return f"{options} BODY=8BITMIME SMTPUTF8"


def _with_dots(content: bytes) -> bytes:
    """Return the message as it follows DATA: dots doubled, a dot at the end (RFC 5321 4.5.2)."""
    ending = b".\r\n" if content.endswith(b"\r\n") else b"\r\n.\r\n"
    return (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + ending
