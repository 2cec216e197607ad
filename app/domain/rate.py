"""How fast mail may leave: so many in a second, minute, hour or day, spread evenly."""

import re
from dataclasses import dataclass

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
        """Mails at once after a rest: one second's worth, and never less than one mail."""
        return max(1.0, self.per_second)

    def __str__(self) -> str:
        """Write it as it is written in the settings."""
        return f"{self.count}/{next(u for u, s in _UNITS.items() if s == self.seconds)}"


def parse(value: str) -> Rate:
    """Read `14/s`, `500/m`, `1000/h` or `50000/d`; raises ValueError with a sentence."""
    found = _RATE.fullmatch(value.strip())
    if found is None:
        raise ValueError("write a rate as 14/s, 500/m, 1000/h or 50000/d")
    return Rate(int(found[1]), _UNITS[found[2]])
