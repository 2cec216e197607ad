"""What a transport's answer to one message means for that message and for all others."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

RECIPIENT_STEPS = (5, 15, 30, 60, 120, 240)
"""Minutes until the next try for one recipient: greylisting passes after 5, then ever slower."""

TRANSPORT_STEPS = (5, 15, 30, 60, 300)
"""Seconds that everybody waits when the server itself is away."""

GIVE_UP_AFTER = timedelta(days=4)
"""RFC 5321 4.5.4.1: retry for at least 4 to 5 days."""

LONGEST_WAIT = timedelta(hours=4)
"""However long a server asks us to wait: it must not be able to hold up mail for ever."""

SENDER_PAUSE = timedelta(minutes=15)
"""After a fault of ours, one message at this distance probes whether it is mended."""


class Outcome(StrEnum):
    """What happened to one message."""

    SENT = "sent"
    """The server or provider accepted it."""
    RETRY_RECIPIENT = "retry_recipient"
    """Not now for this recipient: 450, 451, 452, greylisting."""
    RETRY_TRANSPORT = "retry_transport"
    """Not now for anybody: no connection, 421, HTTP 429 and 5xx."""
    UNKNOWN = "unknown"
    """The connection was lost after the final dot: it may have been accepted."""
    REFUSED = "refused"
    """The mailbox does not exist: a hard bounce."""
    SENDER_FAULT = "sender_fault"
    """We are not allowed to send; never the subscriber's fault."""
    BAD_MESSAGE = "bad_message"
    """This message cannot be sent as it is; a human has to look."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A transport's word on one message.

    `detail` holds reply codes or the name of an exception, never the server's text: that may
    repeat the address.
    """

    outcome: Outcome
    detail: str = ""
    provider_id: str | None = None
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The state the outbox row goes to, and what follows for others."""

    state: str
    delay: timedelta | None = None
    pause: timedelta | None = None
    suppress: bool = False


@dataclass(frozen=True, slots=True)
class Try:
    """What is known about a try.

    `attempts` of this message and `failures` of the transport in a row count this one; `lifetime`
    is how long a message is worth sending; `jitter` in [0, 1) spreads retries by up to a fifth.
    """

    attempts: int
    failures: int
    age: timedelta
    lifetime: timedelta
    jitter: float


def decide(verdict: Verdict, tried: Try) -> Decision:
    """Decide what becomes of a message after a try, and whether everybody has to wait."""
    match verdict.outcome:
        case Outcome.SENT:
            return Decision("sent")
        case Outcome.REFUSED:
            return Decision("failed", suppress=True)
        case Outcome.BAD_MESSAGE:
            return Decision("held")
        case Outcome.SENDER_FAULT:
            # It may be about this one recipient after all, so it also waits longer each time.
            step = timedelta(minutes=_step(RECIPIENT_STEPS, tried.attempts))
            state = "waiting" if tried.age < tried.lifetime else "held"  # it is not theirs to lose
            return Decision(state, delay=max(SENDER_PAUSE, step), pause=SENDER_PAUSE)
        case Outcome.RETRY_TRANSPORT:
            step = timedelta(seconds=_step(TRANSPORT_STEPS, tried.failures))
            pause = _asked(verdict) or step * (1 + tried.jitter / 5)
            # The message waits as long as everybody, and so behind those that are due already;
            # and as it was never judged, it is a human's to give up.
            state = "waiting" if tried.age < tried.lifetime else "held"
            return Decision(state, delay=pause, pause=pause)
        case Outcome.RETRY_RECIPIENT | Outcome.UNKNOWN:
            step = timedelta(minutes=_step(RECIPIENT_STEPS, tried.attempts))
            delay = _asked(verdict) or step * (1 + tried.jitter / 5)
            return _unless_too_old(Decision("waiting", delay=delay), tried)


def _asked(verdict: Verdict) -> timedelta | None:
    return verdict.retry_after and min(verdict.retry_after, LONGEST_WAIT)


def _step(steps: tuple[int, ...], count: int) -> int:
    return steps[min(max(count, 1), len(steps)) - 1]


def _unless_too_old(decision: Decision, tried: Try) -> Decision:
    too_old = tried.age >= tried.lifetime
    return Decision("failed", pause=decision.pause) if too_old else decision
