"""Each transport with the other side that it talks to, for the contract that all of them keep."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from app.mail.connections import Server, Tls
from app.mail.maildir import MaildirTransport, read_all
from app.mail.providers.mailgun import MailgunTransport
from app.mail.providers.postmark import PostmarkTransport
from app.mail.providers.ses import SesTransport
from app.mail.smtp import SmtpTransport
from app.mail.transport import Transport
from tests.mail import providers
from tests.mail.providers import Arrival, Provider, Wire, arrival
from tests.mail.servers import free_port

CONNECTIONS = 3
HTTP = ("postmark", "ses", "mailgun")
REMOTE = ("smtp", *HTTP)
ALL = ("maildir", *REMOTE)


@dataclass(frozen=True)
class Stage:
    """A transport, what arrived at the other side, and how many connections that has open."""

    transport: Transport
    arrived: Callable[[], list[Arrival]]
    open: Callable[[], int]


@dataclass(frozen=True)
class Plot:
    """What goes wrong: `refused` recipients, nobody there, or silence after the mail was taken."""

    refused: tuple[str, ...] = ()
    away: bool = False
    lost: bool = False


@contextlib.asynccontextmanager
async def stage(name: str, folder: Path, plot: Plot | None = None) -> AsyncIterator[Stage]:
    """Set up the transport of this name; it is closed at the end, if the story did not."""
    plot = plot or Plot()
    opened = {"maildir": _maildir, "smtp": _smtp}.get(name, _http)
    async with opened(name, folder, plot) as ready:
        try:
            yield ready
        finally:
            await ready.transport.close()


@contextlib.asynccontextmanager
async def _maildir(_name: str, folder: Path, plot: Plot) -> AsyncIterator[Stage]:
    path = folder / "mail"
    if plot.away:
        path.write_text("in the way")

    def arrived() -> list[Arrival]:
        return [arrival(mail.to, mail.source) for mail in reversed(read_all(path))]

    yield Stage(MaildirTransport(path, CONNECTIONS), arrived, lambda: 0)


@contextlib.asynccontextmanager
async def _smtp(_name: str, _folder: Path, plot: Plot) -> AsyncIterator[Stage]:
    post, port = Post(plot), free_port()
    transport = SmtpTransport(Server("127.0.0.1", port, Tls.NONE), CONNECTIONS)
    async with contextlib.AsyncExitStack() as stack:
        if not plot.away:
            controller = PostOffice(post, hostname="127.0.0.1", port=port)
            controller.start()
            stack.push_async_callback(asyncio.to_thread, controller.stop)
        yield Stage(transport, lambda: list(post.arrived), lambda: len(post.sessions))
        await asyncio.sleep(0.05)  # both sides see that the other has closed


@dataclass
class Post:
    """What the SMTP server took, and who is connected."""

    plot: Plot
    arrived: list[Arrival] = field(default_factory=list)
    sessions: set[SMTP] = field(default_factory=set)

    async def handle_RCPT(  # noqa: N802
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        if address in self.plot.refused:
            return f"550 5.1.1 <{address}>: no such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        [recipient] = envelope.rcpt_tos
        self.arrived.append(arrival(recipient, bytes(envelope.original_content or b"")))
        if self.plot.lost:
            assert server.transport
            server.transport.abort()  # type: ignore[attr-defined] # a socket's transport has it
        return "250 2.0.0 queued"


class PostOffice(Controller):
    """A real SMTP server that knows who is connected."""

    handler: Post

    def factory(self) -> SMTP:
        sessions = self.handler.sessions

        class Counted(SMTP):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                sessions.add(self)
                super().connection_made(transport)

            def connection_lost(self, error: Exception | None) -> None:
                sessions.discard(self)
                super().connection_lost(error)

        return Counted(self.handler, **self.SMTP_kwargs)


@contextlib.asynccontextmanager
async def _http(name: str, _folder: Path, plot: Plot) -> AsyncIterator[Stage]:
    provider, make = _PROVIDERS[name]
    known: Provider = provider(refused=set(plot.refused))
    wire = Wire(known.answer)  # type: ignore[attr-defined] # each of them has it
    wire.before = httpx.ConnectError("refused") if plot.away else None
    wire.after = httpx.ReadTimeout("silence") if plot.lost else None
    transport = make(wire)
    yield Stage(transport, lambda: list(known.arrived), lambda: wire.under_way + (not wire.closed))


_PROVIDERS: dict[str, tuple[type[Provider], Callable[[Wire], Any]]] = {
    "postmark": (
        providers.Postmark,
        lambda wire: PostmarkTransport(providers.POSTMARK, CONNECTIONS, wire),
    ),
    "ses": (providers.Ses, lambda wire: SesTransport(providers.SES, CONNECTIONS, wire)),
    "mailgun": (
        providers.Mailgun,
        lambda wire: MailgunTransport(providers.MAILGUN, CONNECTIONS, wire),
    ),
}
