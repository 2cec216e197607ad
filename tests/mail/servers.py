"""SMTP servers for tests: a real one that keeps what it receives, and one that says odd things."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

HANG = "hang"
DROP = "drop"

_ANSWERS = {
    "": "220 ready",
    "EHLO": "250-server\r\n250 SIZE 1000000",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go on",
    ".": "250 2.0.0 queued",
    "RSET": "250 ok",
    "QUIT": "221 bye",
}


@dataclass
class Scripted:
    """What the odd server was told to say, and what it heard on each connection.

    An answer is a reply, HANG or DROP; of a list each is given once and the last for ever.
    """

    port: int
    answers: dict[str, list[str]]
    heard: list[list[str]] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    tls: ssl.SSLContext | None = None

    def next_answer(self, verb: str) -> str:
        answers = self.answers.get(verb) or [_ANSWERS[verb]]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines: list[str] = []
        self.heard.append(lines)
        self.writers.append(writer)
        verb, answer = "", self.next_answer("")
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while await self._say(writer, answer):
                if verb == "STARTTLS" and self.tls:
                    await writer.start_tls(self.tls)
                verb = await self._hear(reader, lines, is_message=answer.startswith("354"))
                if not verb:
                    break
                answer = self.next_answer(verb)
        writer.close()

    async def _say(self, writer: asyncio.StreamWriter, answer: str) -> bool:
        if answer == HANG:
            await asyncio.Event().wait()
        if answer == DROP:
            return False
        writer.write(f"{answer}\r\n".encode())
        await writer.drain()
        return not answer.startswith("221")

    async def _hear(
        self, reader: asyncio.StreamReader, lines: list[str], *, is_message: bool
    ) -> str:
        if is_message:
            message = b""
            while not (message == b".\r\n" or message.endswith(b"\r\n.\r\n")):
                if not (piece := await reader.readline()):
                    return ""
                message += piece
            self.messages.append(message)
            lines.append(".")
            return "."
        line = (await reader.readline()).decode().rstrip("\r\n")
        lines.append(line)
        return line.split(" ")[0].upper()

    def verbs(self, connection: int = 0) -> list[str]:
        return [line.split(" ")[0] for line in self.heard[connection] if line]


@contextlib.asynccontextmanager
async def scripted(
    tls: ssl.SSLContext | None = None,
    /,
    **answers: str | list[str],
) -> AsyncIterator[Scripted]:
    """Run the odd server; `greeting` and `dot` stand for what has no verb."""
    names = {"greeting": "", "dot": "."}
    lists = {names.get(k, k): [v] if isinstance(v, str) else list(v) for k, v in answers.items()}
    state = Scripted(0, lists, tls=tls)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(state.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in state.writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)


@dataclass
class Inbox:
    """What the real server took."""

    port: int
    envelopes: list[Envelope] = field(default_factory=list)
    peers: list[Any] = field(default_factory=list)
    logins: list[bytes] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802
        self.envelopes.append(envelope)
        self.peers.append(session.peer)
        return "250 2.0.0 queued"

    def authenticate(self, *arguments: Any) -> AuthResult:  # noqa: ANN401
        login = arguments[-1]
        assert isinstance(login, LoginPassword)
        self.logins.append(login.login)
        return AuthResult(success=login.password == "s3cret/ü".encode(), handled=False)

    @property
    def contents(self) -> list[bytes]:
        return [bytes(envelope.original_content or b"") for envelope in self.envelopes]


@contextlib.asynccontextmanager
async def receiving(**options: Any) -> AsyncIterator[Inbox]:  # noqa: ANN401
    """Run the real server in a thread of its own."""
    inbox = Inbox(free_port())
    if options.pop("with_login", False):
        options |= {"authenticator": inbox.authenticate, "auth_required": True}
    controller = Controller(inbox, hostname="127.0.0.1", port=inbox.port, **options)
    controller.start()
    try:
        yield inbox
    finally:
        await asyncio.sleep(0.05)  # both sides see that the other has closed
        await asyncio.to_thread(controller.stop)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
