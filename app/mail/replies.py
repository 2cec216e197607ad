"""What an SMTP server's answer means: one table from phase and code to an outcome."""

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
_NO_MAILBOX = {"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"}
_UNDEFINED = {"", "5.0.0", "5.1.0"}
"""Enhanced codes that say no more than the code itself."""
_PLAIN_REFUSALS = {550, 551, 553}
_SENDER_FAULTS = {530, 534, 535, 538}
_TOO_LARGE = "5.3.4"
_EXCEEDED = 552


def classify(phase: Phase, code: int, text: str) -> Verdict:
    """Judge one reply by RFC 5321 4.2 and the enhanced code (RFC 3463) its text begins with.

    An enhanced code of another class than the code is a server's mistake and is not believed.
    """
    found = _ENHANCED.match(text)
    enhanced = found[1] if found and found[1][0] == str(code)[0] else ""
    return Verdict(_outcome(phase, code, enhanced), f"{code} {enhanced}".rstrip())


def _outcome(phase: Phase, code: int, enhanced: str) -> Outcome:
    match code // 100:
        case 2 if phase is Phase.DOT:
            return Outcome.SENT
        case 4:
            return _transient(phase, code, enhanced)
        case 5:
            return _permanent(phase, code, enhanced)
        case _:
            return silence(phase)


def _transient(phase: Phase, code: int, enhanced: str) -> Outcome:
    if phase is Phase.MAIL and enhanced in {"4.1.7", "4.1.8"}:
        return Outcome.RETRY_RECIPIENT  # about this sender: other newsletters may go on
    if code == SERVICE_CLOSING or phase in {Phase.CONNECT, Phase.MAIL}:
        return Outcome.RETRY_TRANSPORT
    return Outcome.RETRY_RECIPIENT


def _permanent(phase: Phase, code: int, enhanced: str) -> Outcome:
    if enhanced == _TOO_LARGE or enhanced.startswith("5.6."):
        return Outcome.BAD_MESSAGE
    if code in _SENDER_FAULTS or enhanced.startswith("5.7.") or phase is Phase.CONNECT:
        return Outcome.SENDER_FAULT
    if phase is Phase.MAIL:
        return Outcome.BAD_MESSAGE if code == _EXCEEDED else Outcome.SENDER_FAULT
    if enhanced in _NO_MAILBOX:
        return Outcome.REFUSED
    return _refusal(code, enhanced) if phase is Phase.RCPT else Outcome.BAD_MESSAGE


def _refusal(code: int, enhanced: str) -> Outcome:
    """Judge what only RCPT can mean."""
    if code == _EXCEEDED or enhanced == "5.2.2":  # RFC 5321 4.5.3.1.10: the same as 452
        return Outcome.RETRY_RECIPIENT
    if enhanced in {"5.1.7", "5.1.8"}:
        return Outcome.SENDER_FAULT
    if code in _PLAIN_REFUSALS and enhanced in _UNDEFINED:
        return Outcome.REFUSED
    return Outcome.BAD_MESSAGE


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
