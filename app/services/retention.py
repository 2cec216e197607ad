"""What time brings: a reminder for who has not confirmed, and an end to what is kept."""

from datetime import timedelta

from sqlalchemy.engine import Connection

from app.db import subscriptions as rows
from app.domain import address
from app.services import subscriptions
from app.services.commands import Expire, Remind
from app.services.house import House

_BATCH = 500
_REMIND_AFTER = timedelta(hours=24)


def expire_unconfirmed(connection: Connection, house: House, retention: timedelta) -> int:
    """Remove a batch of requests that nobody confirmed in time; return how many were looked at.

    Nothing is kept longer than needed (GDPR article 5(1)(e)).
    """
    before = house.clock() - retention
    found = rows.unconfirmed(connection, before, _BATCH)
    commands = [Expire(subscription=subscription, before=before) for subscription in found]
    subscriptions.apply(connection, commands, house)
    return len(commands)


def remind(connection: Connection, house: House) -> int:
    """Remind a batch of people who have not confirmed for a day; return how many were looked at.

    Who asked longer ago than links live is left alone.
    """
    now = house.clock()
    found = rows.forgotten(connection, now - house.confirm_ttl, now - _REMIND_AFTER, _BATCH)
    commands = [
        Remind(subscription=row, address=address.parse(email), newsletter=slug)
        for row, email, slug in found
    ]
    if commands:
        subscriptions.apply(connection, commands, house)
    return len(commands)
