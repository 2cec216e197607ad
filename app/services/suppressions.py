"""Suppressions by hand: an address is blocked, or may be mailed again."""

from typing import Any

from sqlalchemy.engine import Connection

from app.db import suppressions
from app.domain.address import Address
from app.domain.errors import Conflict, NotFound
from app.domain.subscription import BLOCKING, Reason
from app.services import feedback
from app.services.house import House


def block(
    connection: Connection, house: House, address: Address, reason: Reason
) -> tuple[dict[str, Any], bool]:
    """Suppress an address; return the entry, and whether it is new."""
    hashed = house.address_hash(address.key)
    is_new = suppressions.put(connection, hashed, reason, house.clock())
    row = suppressions.read(connection, hashed, reason)
    # It was there, and somebody lifted it this very moment.
    return (row, is_new) if row else block(connection, house, address, reason)


def lift(connection: Connection, house: House, hashed: str, reason: Reason | None) -> None:
    """Let mail go to an address again: remove one reason, or all that a human may lift.

    Raises NotFound, or Conflict if all that is left is that the person was erased.
    """
    found = suppressions.find(connection, [hashed]).get(hashed, set())
    asked = found if reason is None else found & {reason}
    if not asked:
        raise NotFound("There is no such suppression.")
    liftable = asked & BLOCKING
    if not liftable:
        raise Conflict("This person was erased. Only their own fresh confirmation lifts this.")
    for each in sorted(liftable):
        suppressions.lift(connection, [hashed], each)
    if Reason.HARD_BOUNCE in liftable:
        feedback.forgive(connection, house, hashed)
