"""What is left of each rate, shared by all workers."""

from collections.abc import Mapping

from sqlalchemy import Connection, select

from app.db import bulk
from app.db.tables import mail_rates as t
from app.domain.rate import Bucket


def lock(connection: Connection, new: Mapping[str, Bucket]) -> dict[str, Bucket]:
    """Return the buckets of these names, made as given where they are missing.

    They stay locked until the end, in the order of their names so that nobody deadlocks.
    """
    bulk.insert(connection, t, _rows(new), on_conflict="skip")
    rows = connection.execute(
        select(t.c.name, t.c.tokens, t.c.refilled_at, t.c.booked_until)
        .where(bulk.any_of(connection, t.c.name, list(new)))
        .order_by(t.c.name)
        .with_for_update()
    )
    return {row.name: Bucket(*row[1:]) for row in rows}


def save(connection: Connection, buckets: Mapping[str, Bucket]) -> None:
    """Write buckets that are locked."""
    bulk.insert(connection, t, _rows(buckets), on_conflict="update")


def _rows(buckets: Mapping[str, Bucket]) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "tokens": bucket.tokens,
            "refilled_at": bucket.refilled_at,
            "booked_until": bucket.booked_until,
        }
        for name, bucket in sorted(buckets.items())
    ]
