"""Messages one behind another over one SMTP connection: MAIL, RCPT, DATA, the message, again."""

from dataclasses import dataclass
from typing import Protocol

from aiosmtplib import SMTPException, SMTPResponseException, SMTPStatus

from app.domain.retry import Outcome, Verdict
from app.mail.connections import MESSAGES, Connection, Offers, Timeouts
from app.mail.conversations import Reply
from app.mail.message import Message
from app.mail.replies import SERVICE_CLOSING, Phase, classify, failure

_WAIT_SECONDS = 2.0
"""So long a message waits behind another; then the other one alone waits for a slow server."""
_OPENING = (Phase.MAIL, Phase.RCPT, Phase.DATA)


class Lapsed(Exception):
    """The server took so long to want a message that it may be somebody else's by now."""


class Mails(Protocol):
    """Where the messages of a run come from, and where the verdicts go."""

    def next(self, *, ahead: bool = False) -> Message | None:
        """Return the next message if there is one now; every one of them has to be answered.

        `ahead`: only if nobody else could send it sooner.
        """
        ...

    def keeps(self, message: Message) -> bool:
        """Tell whether the message may still be sent; if not, it is let go, and not answered."""
        ...

    def put_back(self, message: Message) -> None:
        """Let somebody else have a message that was only announced."""
        ...

    def answer(self, message: Message, verdict: Verdict) -> None:
        """Say what became of a message."""
        ...


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as this server takes it: the three commands before it, and what follows DATA."""

    message: Message
    opening: tuple[bytes, bytes, bytes]
    content: bytes


class Run:
    """One use of a connection, for as many messages as there are.

    Where the server offers PIPELINING, the three commands before a message go out at once, and
    behind the message before it: RFC 2920 allows both, and so a message takes one round trip
    instead of four. `phase` tells how far the message under way has come.
    """

    def __init__(self, connection: Connection, timeouts: Timeouts, mails: Mails) -> None:
        """Begin with a connection on which nothing is under way."""
        self._connection = connection
        self._talk = connection.talk
        self._timeouts = timeouts
        self._mails = mails
        self._at_once = connection.offers.pipelining
        self._ahead: Letter | None = None
        self._phase = Phase.MAIL
        self._is_spoilt = False

    async def carry(self, first: Message) -> Message | None:
        """Send a message and all that follow; return one that the server never heard of, if any.

        The connection is of no more use if its conversation is closing then.
        """
        letter = self._fit(first) or self._next()
        try:
            while letter is not None:
                verdict = await self._open(letter) or await self._send(letter)
                self._mails.answer(letter.message, verdict)
                self._connection.uses += 1
                if self._is_spoilt:  # somebody was announced who goes another way
                    self._talk.abort()
                    return None
                letter = self._ahead or self._next()
        except Lapsed:
            self._talk.abort()
            return None
        except (SMTPException, OSError) as error:
            self._talk.abort()
            return self._give_up(letter, error)
        except BaseException:
            self._talk.abort()
            raise
        return None

    def _give_up(self, letter: Letter | None, error: Exception) -> Message | None:
        """Answer for the message under way; what was only announced can go another way."""
        if letter is None:
            return None
        if self._connection.uses and self._phase is Phase.MAIL and _is_farewell(error):
            return letter.message
        self._mails.answer(letter.message, failure(self._phase, error))
        return self._ahead.message if self._ahead else None

    def _next(self, *, ahead: bool = False) -> Letter | None:
        """Return the next message that this server can take, unless the connection is worn out."""
        uses = self._connection.uses + ahead
        while uses < MESSAGES and (ahead or self._talk.is_quiet):
            message = self._mails.next(ahead=ahead)
            if message is None:
                return None
            letter = self._fit(message)
            if letter is not None:
                return letter
        return None

    def _fit(self, message: Message) -> Letter | None:
        """Return the message as this server takes it; what it cannot take is answered for."""
        content = _with_dots(message.content)
        options = _options(self._connection.offers, message, len(content))
        if options is None:
            self._mails.answer(message, Verdict(Outcome.BAD_MESSAGE, "SmtpUtf8NotOffered"))
            return None
        mail = f"MAIL FROM:<{message.sender}>{options}\r\n".encode()
        rcpt = f"RCPT TO:<{message.recipient}>\r\n".encode()
        return Letter(message, (mail, rcpt, b"DATA\r\n"), content)

    async def _open(self, letter: Letter) -> Verdict | None:
        """Say who it is from and for, if that is not said yet; None if the server wants it."""
        self._phase = Phase.MAIL
        if self._at_once and letter is not self._ahead:
            self._talk.write(b"".join(letter.opening))
        self._ahead = None
        for index, phase in enumerate(_OPENING):
            self._phase = phase
            if not self._at_once:
                self._talk.write(letter.opening[index])
            reply = self._talk.heard() or await self._talk.reply(self._patience(phase))
            if not _goes_on(phase, reply):
                await self._reset(len(_OPENING) - 1 - index if self._at_once else 0)
                return classify(phase, reply.code, reply.text)
        return None

    def _patience(self, phase: Phase) -> float:
        return self._timeouts.data if phase is Phase.DATA else self._timeouts.command

    async def _send(self, letter: Letter) -> Verdict:
        if self._talk.has_unasked:  # it would be taken for the answer to the message
            raise SMTPResponseException(SMTPStatus.invalid_response, "")
        if not self._mails.keeps(letter.message):
            raise Lapsed
        self._ahead = self._next(ahead=True) if self._at_once else None
        opening = self._ahead.opening if self._ahead else ()
        self._talk.write(b"".join((letter.content, *opening)))
        self._phase = Phase.DOT
        if self._ahead and not await self._talk.arrives(_WAIT_SECONDS):
            self._mails.put_back(self._ahead.message)
            self._ahead, self._is_spoilt = None, True
        reply = self._talk.heard() or await self._talk.reply(self._timeouts.dot)
        _goes_on(self._phase, reply)
        return classify(self._phase, reply.code, reply.text)

    async def _reset(self, unread: int) -> None:
        """Clear the envelope on the server; if that fails the connection is dropped, no more.

        A server may want the message although nobody is left to get it: it is sent an empty one
        (RFC 2920 3.1).
        """
        talk, timeout = self._talk, self._timeouts.connect
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
