"""A few connections to one SMTP server, kept open between messages."""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import cast

from aiosmtplib import SMTP, SMTPException, SMTPHeloError, SMTPServerDisconnected

from app.mail.conversations import Conversation
from app.mail.replies import LoginNotOffered, TlsNotOffered

MESSAGES = 500
"""Then a new connection, so that a name with several servers behind it is shared out anew."""

GOODBYE_SECONDS = 2.0


class Tls(StrEnum):
    """How a connection is encrypted."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@dataclass(frozen=True, slots=True)
class Server:
    """Where to connect and how; certificates are always verified."""

    host: str
    port: int
    tls: Tls
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for an answer (RFC 5321 4.5.3.2).

    A shorter wait after the final dot makes second copies. `connect` holds for each step until
    the connection is ready. `idle` is for how long a connection is kept that nobody uses: servers
    close it after some minutes, and we want to be gone before.
    """

    connect: float = 30.0
    command: float = 300.0
    data: float = 120.0
    dot: float = 600.0
    idle: float = 60.0


@dataclass(frozen=True, slots=True)
class Offers:
    """What the server can do, of what we use: RFC 2920, RFC 1870, RFC 6531."""

    pipelining: bool
    size: bool
    smtputf8: bool


@dataclass(slots=True, eq=False)
class Connection:
    """One connection, ready for MAIL; `uses` counts the messages that it has carried."""

    talk: Conversation
    offers: Offers
    uses: int = 0
    idle_since: float = 0.0

    def leave(self) -> None:
        """Say QUIT without waiting for the answer."""
        with contextlib.suppress(SMTPException, OSError):
            self.talk.write(b"QUIT\r\n")
        self.talk.close()


class Connections:
    """The idle connections; the last one used is the first to be used again."""

    def __init__(self, server: Server, timeouts: Timeouts, context: ssl.SSLContext | None) -> None:
        """Open nothing yet."""
        self._server = server
        self._timeouts = timeouts
        encrypted = server.tls is not Tls.NONE
        self._context = (context or ssl.create_default_context()) if encrypted else None
        self._own_name: str | None = None
        self._idle: list[Connection] = []
        self._closed = False

    async def take(self) -> Connection:
        """Return an idle connection or a new one; raises what `open` raises."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.talk.is_quiet and now - connection.idle_since < self._timeouts.idle:
                return connection
            connection.leave()
        return await self.open()

    async def open(self) -> Connection:
        """Return a new connection, encrypted and logged in as the server needs it.

        Raises SMTPException or OSError; nothing is left open then, nor after a cancellation.
        """
        client = self._client()
        try:
            await self._prepare(client)
        except BaseException:
            _abort(client)
            raise
        return _taken_over(client)

    def _client(self) -> SMTP:
        server = self._server
        return SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.tls is Tls.IMPLICIT,
            start_tls=False,
            tls_context=self._context,
            timeout=self._timeouts.connect,
            local_hostname=self._own_name,
        )

    async def _prepare(self, client: SMTP) -> None:
        await client.connect()
        self._own_name = client.local_hostname
        await _introduce(client)
        if self._server.tls is Tls.STARTTLS:
            if not client.supports_extension("starttls"):
                raise TlsNotOffered(self._server.host)
            await client.starttls()
            await _introduce(client)
        if self._server.username is not None:
            if not client.supported_auth_methods:
                raise LoginNotOffered(self._server.host)
            await client.login(self._server.username, self._server.password or "")

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next message, unless it is worn out or of no more use."""
        if self._closed or connection.uses >= MESSAGES or not connection.talk.is_quiet:
            connection.leave()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)

    async def close(self) -> None:
        """Say QUIT on all idle connections, and keep none from now on."""
        self._closed = True
        idle, self._idle = self._idle, []
        await asyncio.gather(*(_quit(connection) for connection in idle))


async def _introduce(client: SMTP) -> None:
    try:
        await client.ehlo()
    except SMTPHeloError:
        await client.helo()


def _taken_over(client: SMTP) -> Connection:
    """Return the connection without the library: its protocol reads one reply at a time."""
    if client.transport is None or client.transport.is_closing():
        raise SMTPServerDisconnected("Connection lost")
    offers = Offers(*(client.supports_extension(f.name) for f in fields(Offers)))
    return Connection(Conversation(client.transport), offers)


def _abort(client: SMTP) -> None:
    if client.transport is not None:
        cast("asyncio.WriteTransport", client.transport).abort()
    client.close()


async def _quit(connection: Connection) -> None:
    with contextlib.suppress(SMTPException, OSError):
        connection.talk.write(b"QUIT\r\n")
        await connection.talk.reply(GOODBYE_SECONDS)
    connection.talk.abort()
