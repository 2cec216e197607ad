"""A circuit breaker on confirmation mails: too many at once, or too few that anybody answers."""

from dataclasses import dataclass
from datetime import timedelta

from app.domain.rate import Rate

SAMPLE = 200
"""So many of the newest mails are looked at, and fewer say nothing."""

ANSWER_WITHIN = timedelta(minutes=30)
"""Younger mails are not looked at: people have not read them yet."""

LOOK_BACK = timedelta(days=1)

SLOWER = 100
"""While hardly anybody answers, mail goes at this fraction of the rate, and is still a sample."""

_COLLAPSED = 0.05
_RECOVERED = 0.10


@dataclass(frozen=True, slots=True)
class Line:
    """The mails that were given a time, one behind another, each `1 / rate` seconds.

    `until` is the end of the last one's time, in seconds since the epoch; `pace` stretches it.
    """

    until: float
    pace: int = 1

    def waits(self, limit: Rate, now: float, count: int) -> list[float]:
        """Return the seconds that each of the last `count` mails in line has to wait.

        As many as the limit allows in its unit of time go at once.
        """
        each = self.pace / limit.per_second
        ahead = self.until - now - limit.seconds
        return [max(0.0, ahead - each * behind) for behind in range(count - 1, -1, -1)]

    def is_longer(self, limit: Rate, now: float) -> bool:
        """Tell whether the next mail has to wait."""
        return self.until - now > limit.seconds


def is_ignored(sent: int, answered: int, *, before: bool) -> bool:
    """Tell whether hardly anybody answers: fewer than 5 %, and then until it is 10 % again.

    In a healthy newsletter it is more than half; of people that somebody else signed up, nobody.
    """
    return sent >= SAMPLE and answered / sent < (_RECOVERED if before else _COLLAPSED)
