"""What can go wrong, as one tree; `web/problems.py` gives each its status.

Problem                 anything that a caller did or met and can be told about
  Unreadable            the body is not what its Content-Type says
  UnsupportedMedia      a body of a kind that we do not take
  Invalid               readable, but a value is wrong; carries where and why
  Unauthenticated       no key, or none that is valid
    Distrusted          a call in the name of a provider that does not prove it
  Forbidden             a valid key without the scope
  NotFound              there is no such thing
  Conflict              the thing exists already, or is in another state
  Gone                  it was there, and is no longer valid
  NoPolicy              nothing can be consented to before a policy is published
  Unreachable           somebody whom we have to ask does not answer; try again soon
  Unavailable           the database is away; try again soon
    Unmigrated          it is there, and its tables are not, or not all
  TooMany               this client, or all together, asked too often; says when to come back
  Busy                  too many wait already, or we are shutting down; try again soon
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


class Problem(Exception):
    """Base of all; `detail` is one sentence for the caller, free of personal data."""

    def __init__(self, detail: str) -> None:
        """Keep the sentence."""
        super().__init__(detail)
        self.detail = detail


class Unreadable(Problem):
    """The body cannot be decoded."""


class UnsupportedMedia(Problem):
    """The kind of body is not taken here."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One wrong value: a JSON pointer (RFC 6901), what to do, and what else helps."""

    pointer: str
    detail: str
    extra: dict[str, str] = field(default_factory=dict)


class Invalid(Problem):
    """One or more values are wrong."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        """Keep every fault; the first makes the sentence."""
        super().__init__("Some values are not valid. See errors.")
        self.faults = tuple(faults)


class Unauthenticated(Problem):
    """No key, or not a valid one."""


class Distrusted(Unauthenticated):
    """Whoever calls did not prove to be the provider; `reason` is for our log alone."""

    def __init__(self, reason: str) -> None:
        """Keep the reason, which is nobody's business outside."""
        super().__init__("This call is not proven to come from the provider.")
        self.reason = reason


class Forbidden(Problem):
    """The key is valid, but may not do this."""


class NotFound(Problem):
    """No such thing."""


class Conflict(Problem):
    """The thing is there already."""


class Gone(Problem):
    """No longer valid."""


class NoPolicy(Problem):
    """No privacy policy has been published yet."""


class Unreachable(Problem):
    """A host that we have to ask does not answer."""


class Unavailable(Problem):
    """The database is away."""


class Unmigrated(Unavailable):
    """The database lacks tables or columns."""


class TooMany(Problem):
    """Too many requests in a short time; `seconds` until there is room again."""

    def __init__(self, seconds: int) -> None:
        """Keep the time; the sentence is the same for everybody."""
        super().__init__("There were too many requests. Please try again a little later.")
        self.seconds = seconds


class Busy(Problem):
    """The waiting line is full, or closed."""
