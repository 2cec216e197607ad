"""What an SMTP server's answer means: one table from phase and code to an outcome."""

import functools
import re
import ssl
from enum import StrEnum

from aiosmtplib import SMTPException, SMTPResponseException

from app.domain.retry import Outcome, Verdict


class Phase(StrEnum):
    """Where in the conversation an answer was given, or did not come."""

    CONNECT = "connect"
    """Greeting, EHLO, STARTTLS, AUTH."""
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    """The command; nothing of the message has been sent."""
    DOT = "dot"
    """The message is on its way: from here on silence means that nobody knows."""


SERVICE_CLOSING = 421

_ENHANCED = re.compile(r"#?([245]\.\d{1,3}\.\d{1,3})\b")
_TABLE = tuple(
    (re.compile(pattern), outcome)
    for pattern, outcome in (
        # phase, code and enhanced code, if any; the first line that fits counts
        (r"dot 2..", Outcome.SENT),
        # about this sender: other newsletters may go on
        (r"mail 4.. 4\.1\.[78]", Outcome.RETRY_RECIPIENT),
        (r"\w+ 421|(connect|mail) 4..", Outcome.RETRY_TRANSPORT),
        (r"\w+ 4..", Outcome.RETRY_RECIPIENT),
        (r"\w+ 5.. 5\.(3\.4|6\.\d+)( |$)", Outcome.BAD_MESSAGE),
        (r"\w+ (530|534|535|538|5.. 5\.7\.)|connect 5..", Outcome.SENDER_FAULT),
        # a command or a state that the server does not know, or its own system: the same for all
        (r"\w+ (50[0234]|5.. 5\.3\.[0-35])( |$)", Outcome.SENDER_FAULT),
        (r"mail 552", Outcome.BAD_MESSAGE),
        (r"mail 5..", Outcome.SENDER_FAULT),
        (r"\w+ 5.. 5\.(1\.(1|2|3|6|10)|2\.1)$", Outcome.REFUSED),
        # RFC 5321 4.5.3.1.10: the same as 452
        (r"rcpt (552|5.. 5\.2\.2)", Outcome.RETRY_RECIPIENT),
        (r"rcpt 5.. 5\.1\.[78]$", Outcome.SENDER_FAULT),
        # codes alone, or with an enhanced code that says no more: only RCPT means the mailbox
        (r"rcpt (550|551|553)( 5\.[01]\.0)?$", Outcome.REFUSED),
        (r"\w+ 5..", Outcome.BAD_MESSAGE),
    )
)
"""RFC 5321 4.2 and RFC 3463. What fits no line makes no sense, and is taken as silence."""


def classify(phase: Phase, code: int, text: str) -> Verdict:
    """Judge one reply by its code and the enhanced code that its text begins with.

    An enhanced code of another class than the code is a server's mistake and is not believed.
    """
    found = _ENHANCED.match(text)
    enhanced = found[1] if found and found[1][0] == str(code)[0] else ""
    told = f"{code} {enhanced}".rstrip()
    return Verdict(_outcome(phase, told), told)


@functools.lru_cache(maxsize=256)
def _outcome(phase: Phase, told: str) -> Outcome:
    line = f"{phase} {told}"
    found = (outcome for pattern, outcome in _TABLE if pattern.match(line))
    return next(found, silence(phase))


def silence(phase: Phase) -> Outcome:
    """Judge a time-out, a lost connection or an answer that makes no sense."""
    return Outcome.UNKNOWN if phase is Phase.DOT else Outcome.RETRY_TRANSPORT


class NotOffered(SMTPException):
    """The server lacks what we insist on; trying again does not help until a human looks."""


class TlsNotOffered(NotOffered):
    """No STARTTLS where the connection has to be encrypted."""


class LoginNotOffered(NotOffered):
    """No AUTH that we know, and there are credentials."""


def failure(phase: Phase, error: Exception) -> Verdict:
    """Judge an exception; the detail is its class or the codes, never the server's text."""
    if isinstance(error, SMTPResponseException):
        return classify(phase, error.code, error.message)
    cause = error.__cause__ or error
    ours = isinstance(error, NotOffered) or isinstance(cause, ssl.SSLCertVerificationError)
    return Verdict(Outcome.SENDER_FAULT if ours else silence(phase), type(cause).__name__)
