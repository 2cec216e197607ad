"""What is kept no longer than needed (GDPR article 5(1)(e))."""

from datetime import timedelta

from sqlalchemy.engine import Connection

from app.db import subscriptions as rows
from app.services import subscriptions
from app.services.commands import Expire
from app.services.house import House

_BATCH = 500


def expire_unconfirmed(connection: Connection, house: House, retention: timedelta) -> int:
    """Remove a batch of requests that nobody confirmed in time; return how many were looked at."""
    before = house.clock() - retention
    found = rows.unconfirmed(connection, before, _BATCH)
    commands = [Expire(subscription=subscription, before=before) for subscription in found]
    subscriptions.apply(connection, commands, house)
    return len(commands)
