"""Runs migrations on a connection that is given, or on the database of the settings."""

import asyncio

from alembic import context
from sqlalchemy.engine import Connection

from app.db.engine import open_engine
from app.db.tables import metadata
from app.settings import Settings


def run(connection: Connection) -> None:
    """Run the migrations that were asked for, in the transaction of this connection."""
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()


async def run_on_settings() -> None:
    """Open the configured database, for `alembic` called by hand."""
    engine = open_engine(Settings().sqlalchemy_url)
    try:
        await engine.write(run)
    finally:
        await engine.close()


if (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    asyncio.run(run_on_settings())
