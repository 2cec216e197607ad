"""How fast mail may leave: so many in a second, minute, hour or day, spread evenly."""

import math
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_RATE = re.compile(r"([1-9][0-9]{0,8})/([smhd])")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many mails in so many seconds."""

    count: int
    seconds: int

    @property
    def per_second(self) -> float:
        """Mails in a second."""
        return self.count / self.seconds

    @property
    def burst(self) -> float:
        """Mails at once after a rest: a quarter of a second's worth, and never less than one."""
        return max(1.0, self.per_second / 4)

    def __str__(self) -> str:
        """Write it as it is written in the settings."""
        return f"{self.count}/{next(u for u, s in _UNITS.items() if s == self.seconds)}"


def parse(value: str) -> Rate:
    """Read `14/s`, `500/m`, `1000/h` or `50000/d`; raises ValueError with a sentence."""
    found = _RATE.fullmatch(value.strip())
    if found is None:
        raise ValueError("write a rate as 14/s, 500/m, 1000/h or 50000/d")
    return Rate(int(found[1]), _UNITS[found[2]])


@dataclass(frozen=True, slots=True)
class Bucket:
    """What of a rate is left: a token is one mail, and tokens come evenly up to the burst.

    `booked_until` is the time given to the last mail that found no token; the next one comes
    after it, so that a long line is put off once and not again and again.
    """

    tokens: float
    refilled_at: datetime
    booked_until: datetime

    def refill(self, rate: Rate, now: datetime) -> "Bucket":
        """Return the bucket as it is now.

        After a clock that was ahead went back, it goes on from there with what it has.
        """
        elapsed = now - self.refilled_at
        if elapsed < timedelta(0):
            return replace(self, refilled_at=now, booked_until=self.booked_until + elapsed)
        tokens = min(rate.burst, self.tokens + elapsed.total_seconds() * rate.per_second)
        return replace(self, tokens=tokens, refilled_at=now)

    @property
    def whole(self) -> int:
        """How many mails may leave now."""
        return math.floor(self.tokens + 1e-9)

    def take(self, count: int) -> "Bucket":
        """Return the bucket after so many mails."""
        return replace(self, tokens=self.tokens - count)

    def wait(self, rate: Rate) -> float:
        """Return the seconds until it is worth asking again: half of a burst, at least a mail."""
        return max(0.0, (max(1.0, rate.burst / 2) - self.tokens) / rate.per_second)

    def book(self, rate: Rate, now: datetime) -> "Bucket":
        """Return the bucket after one more mail was put off to its `booked_until`."""
        begin = max(self.booked_until, now)
        return replace(self, booked_until=begin + timedelta(seconds=1 / rate.per_second))


def full(rate: Rate, now: datetime) -> Bucket:
    """Return a bucket that nothing was taken from yet."""
    return Bucket(rate.burst, now, now)
