"""Sends mail over SMTP, one message per transaction, judged by where it went wrong."""

import asyncio
import re
import ssl

from aiosmtplib import SMTPException

from app.domain.retry import Outcome, Verdict
from app.mail.connections import Connections, Server, Timeouts
from app.mail.message import Message, has_clean_lines
from app.mail.replies import Phase, failure
from app.mail.runs import Mails, Run

_ENVELOPE = re.compile(r"[^\s\x00-\x20\x7f-\x9f<>]+@[^\s\x00-\x20\x7f-\x9f<>@]+")


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
        mail = _One(message)
        await self.carry(mail)
        return mail.verdict

    async def carry(self, mails: Mails) -> None:
        """Send one message behind another over one connection, until there are no more."""
        safe = _Safe(mails)
        async with self._slots:
            message = safe.next()
            while message is not None:
                message = await self._carry(message, safe) or safe.next()

    async def _carry(self, message: Message, mails: Mails) -> Message | None:
        """Use one connection; return a message that needs another."""
        try:
            connection = await self._pool.take()
        except (SMTPException, OSError, ValueError) as error:  # ValueError: of IDNA and the like
            mails.answer(message, failure(Phase.CONNECT, error))
            return None
        untried = await Run(connection, self._timeouts, mails).carry(message)
        self._pool.give_back(connection)
        return untried

    async def close(self) -> None:
        """Say goodbye to the server."""
        await self._pool.close()


class _One:
    """A run of one message."""

    def __init__(self, message: Message) -> None:
        self._message: Message | None = message
        self.verdict = Verdict(Outcome.UNKNOWN)

    def next(self, *, ahead: bool = False) -> Message | None:
        del ahead
        message, self._message = self._message, None
        return message

    def keeps(self, message: Message) -> bool:
        del message
        return True

    def put_back(self, message: Message) -> None:
        self._message = message

    def answer(self, message: Message, verdict: Verdict) -> None:
        del message
        self.verdict = verdict


class _Safe:
    """Lets nothing through that could be read as a second command or a second message."""

    def __init__(self, mails: Mails) -> None:
        self._mails = mails
        self.keeps = mails.keeps
        self.put_back = mails.put_back
        self.answer = mails.answer

    def next(self, *, ahead: bool = False) -> Message | None:
        while True:
            message = self._mails.next(ahead=ahead)
            if message is None or _is_safe(message):
                return message
            self.answer(message, Verdict(Outcome.BAD_MESSAGE, "UnsafeMessage"))


def _is_safe(message: Message) -> bool:
    is_clean = message.is_clean or has_clean_lines(message.content)
    sender, recipient = _ENVELOPE.fullmatch(message.sender), _ENVELOPE.fullmatch(message.recipient)
    return bool(is_clean and sender and recipient)
