"""Confirmation mails that strangers cause too many of wait in line; none is lost."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.engine import Connection

from app.db import breakers, outbox
from app.db.breakers import HELD_BACK, Breaker
from app.domain import breaker
from app.domain.breaker import ANSWER_WITHIN, LOOK_BACK, SAMPLE, SLOWER, Line
from app.domain.rate import Rate
from app.domain.subscription import Mail
from app.services.house import House

_TOGETHER = 500
"""So many mails are given a new time in one statement, the last one's."""

log = structlog.get_logger()


def hold_back(
    connection: Connection, house: House, mails: Sequence[dict[str, Any]], now: datetime
) -> None:
    """Make those mails due later that are too many; call it last, right before they are added."""
    limit = house.confirm_rate
    confirms = [mail for mail in mails if mail["kind"] == Mail.CONFIRM]
    if limit is None or not confirms:
        return
    seconds = len(confirms) / limit.per_second
    line = breakers.book(connection, str(limit), now.timestamp(), seconds)
    waits = line.waits(limit, now.timestamp(), len(confirms))
    for mail, wait in zip(confirms, waits, strict=True):
        if wait:
            mail |= {"due_at": now + timedelta(seconds=wait), "outcome": HELD_BACK}


def judge(connection: Connection, house: House) -> None:
    """Look how many of the mails are answered, and let the others wait for longer or less.

    Says once in the log when mails begin to wait, and once when they do not any more.
    """
    found = breakers.read(connection, lock=True)
    if found is None:
        return
    now, limit = house.clock(), house.confirm_rate
    if limit is None:
        _spread(connection, None, now)
        breakers.remove(connection)
        return
    sample = (now - LOOK_BACK, now - ANSWER_WITHIN, now - house.confirm_ttl, SAMPLE)
    ignored = breaker.is_ignored(*breakers.answers(connection, *sample), before=_is_slow(found))
    judged = replace(found, line=replace(found.line, pace=SLOWER if ignored else 1))
    if judged.line != found.line or str(limit) != found.rate:
        line = _spread(connection, (limit, judged.line.pace), now)
        judged = replace(judged, line=line, rate=str(limit))
    breakers.save(connection, _told(judged, limit, now))


def _is_slow(found: Breaker) -> bool:
    return found.line.pace > 1


def _spread(connection: Connection, speed: tuple[Rate, int] | None, now: datetime) -> Line:
    """Give what is held back new times, at this rate and pace or at once; return the new line."""
    ids = breakers.waiting(connection, now)
    if speed is None:
        line, waits = Line(now.timestamp()), [0.0] * len(ids)
    else:
        limit, pace = speed
        line = Line(now.timestamp() + len(ids) * pace / limit.per_second, pace)
        waits = line.waits(limit, now.timestamp(), len(ids))
    for first in range(0, len(ids), _TOGETHER):
        some = ids[first : first + _TOGETHER]
        due = now + timedelta(seconds=waits[first + len(some) - 1])
        breakers.put_off(connection, some, due)
    if ids:
        outbox.wake(connection)
    return line


def _told(judged: Breaker, limit: Rate, now: datetime) -> Breaker:
    is_open = _is_slow(judged) or judged.line.is_longer(limit, now.timestamp())
    if is_open and judged.opened_at is None:
        log.warning("confirm_mails_wait", limit=str(limit), ignored=_is_slow(judged))
        return replace(judged, opened_at=now)
    if not is_open and judged.opened_at is not None:
        log.info("confirm_mails_flow")
        return replace(judged, opened_at=None)
    return judged


def release(connection: Connection, house: House) -> bool:
    """Let all that is held back leave now, on a human's word; False if nothing was."""
    found = breakers.read(connection, lock=True)
    if found is None or house.confirm_rate is None:
        return False
    now = house.clock()
    if not found.line.is_longer(house.confirm_rate, now.timestamp()):
        return False
    line = replace(_spread(connection, None, now), pace=found.line.pace)
    breakers.save(connection, replace(found, line=line))
    return True


def warning(connection: Connection, house: House) -> str | None:
    """Return what an admin should know of the breaker; None if all is well."""
    found, limit, now = breakers.read(connection), house.confirm_rate, house.clock()
    if found is None or limit is None:
        return None
    is_longer = found.line.is_longer(limit, now.timestamp())
    if _is_slow(found):
        return (
            "hardly anybody confirms (fewer than 5 % of the last 200 mails): confirmation mails go "
            f"at a hundredth of {limit} until 10 % do. Is a robot signing people up?"
        )
    if is_longer:
        return (
            f"confirmation mails wait: more than {limit} were asked for. They go out one after "
            "another; to send them now, POST /v1/outbox/resume"
        )
    return None
