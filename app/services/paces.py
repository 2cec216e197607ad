"""How fast mail may leave, for the whole installation: MAIL_RATE and MAIL_DOMAIN_RATES."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.engine import Connection

from app.db import rates
from app.db.leases import Lease
from app.domain import rate
from app.domain.rate import Bucket, Rate
from app.domain.subscription import Mail
from app.services.house import House

_FIRST = " confirm"


@dataclass(frozen=True, slots=True)
class Pace:
    """The limits that hold for a claim, and what is left of each.

    A limit is known by the name of its bucket; `whole` hold for all mail, `domains` for one each.
    """

    now: datetime
    whole: dict[str, Rate]
    domains: dict[str, tuple[str, Rate]]
    buckets: dict[str, Bucket]

    @property
    def limit(self) -> int | None:
        """How many mails may leave now; None if there is no limit on all of them."""
        return min((self.buckets[name].whole for name in self.whole), default=None)

    @property
    def wait(self) -> float:
        """Seconds until the next mail may leave."""
        return max(self.buckets[name].wait(limit) for name, limit in self.whole.items())


def load(connection: Connection, house: House, transport: str, now: datetime) -> Pace | None:
    """Return what may leave now, locked until the end; None if nothing limits the pace."""
    if not house.is_paced:
        return None
    # The limit is a part of the name: one that is changed in the settings begins anew.
    whole = {f"{transport} {limit}": limit for limit in house.mail_rates}
    domains = {d: (f"{transport} {d} {limit}", limit) for d, limit in house.domain_rates.items()}
    limits = {**whole, **dict(domains.values())}
    limits |= {name + _FIRST: limit for name, limit in domains.values()}
    found = rates.lock(connection, {name: rate.full(lim, now) for name, lim in limits.items()})
    buckets = {name: bucket.refill(limits[name], now) for name, bucket in found.items()}
    if any(buckets[name].refilled_at < bucket.refilled_at for name, bucket in found.items()):
        rates.save(connection, buckets)  # the clock was set back: go on from now, whatever follows
    return Pace(now, whole, domains, buckets)


def take(
    pace: Pace, claimed: Sequence[Lease], room: int
) -> tuple[list[Lease], dict[int, datetime]]:
    """Return which of the claimed mails may leave, at most `room`, and which are put off till when.

    Put off are those too many for their domain. The first of a domain go; each of the others is
    given a time of its own, one behind another. Confirmations have a line of their own, or one
    would wait behind a whole issue.
    """
    going: list[Lease] = []
    put_off: dict[int, datetime] = {}
    for lease in claimed:
        name, limit = pace.domains.get(lease.email.rpartition("@")[2].lower(), (None, None))
        if name is not None and limit is not None and not pace.buckets[name].whole:
            line = name + _FIRST if lease.kind == Mail.CONFIRM else name
            pace.buckets[line] = pace.buckets[line].book(limit, pace.now)
            put_off[lease.id] = pace.buckets[line].booked_until
        elif len(going) < room:
            for bucket in (*pace.whole, *([name] if name else [])):
                pace.buckets[bucket] = pace.buckets[bucket].take(1)
            going.append(lease)
    return going, put_off


def save(connection: Connection, pace: Pace) -> None:
    """Write what is left of each limit."""
    rates.save(connection, pace.buckets)
