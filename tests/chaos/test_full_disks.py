"""The database's disk is full for a while: 503, no copy, nothing lost, and then it goes on."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from tests.chaos.crowds import crowding
from tests.chaos.disks import Ceiling, Disk, mounted
from tests.chaos.invariants import broken
from tests.chaos.servers import migrate, own_server
from tests.chaos.stages import Stage, staged
from tests.chaos.test_killed_servers import must_have_kept
from tests.journeys.processes import is_ready, wait_until

FEW, MANY = 8, 60
"""Visitors who are told to come back later while the disk is full."""


@contextmanager
def _small(folder: Path) -> Iterator[Disk]:
    """Have a small disk where mounting is allowed."""
    try:
        with mounted(folder, 32) as disk:
            yield disk
    except PermissionError as error:
        pytest.skip(str(error))


def test_sqlite_meets_a_full_disk_under_load(tmp_path: Path, migrated_sqlite: Path) -> None:
    with _small(tmp_path / "disk") as disk:
        file = disk.folder / "newsletter.db"
        shutil.copy(migrated_sqlite, file)
        with staged(tmp_path, f"sqlite:///{file}") as stage:
            _fill_under_load(stage, disk)


def test_sqlite_may_not_write_more_under_load(tmp_path: Path, migrated_sqlite: Path) -> None:
    file = tmp_path / "newsletter.db"
    shutil.copy(migrated_sqlite, file)
    with staged(tmp_path, f"sqlite:///{file}") as stage:
        running = stage.nursery.started
        _fill_under_load(stage, Ceiling(file, lambda: [process.pid for process in running]))


def test_postgresql_meets_a_full_disk_under_load(tmp_path: Path) -> None:
    with own_server(tmp_path / "postgres") as own:  # others could make no database meanwhile
        postgres, data = own.server.get_uri("{}"), Path(own.server.pgdata)
        name = f"small_{uuid4().hex}"
        with (
            _small(data.with_name(name)) as disk,
            _tablespace(postgres, name, data, disk) as url,
            staged(tmp_path, url) as stage,
        ):
            _fill_under_load(stage, disk)


@contextmanager
def _tablespace(postgres: str, name: str, data: Path, disk: Disk) -> Iterator[str]:
    """Have a database whose tables are on the small disk; the server's log is elsewhere."""
    folder = disk.folder / "space"
    folder.mkdir()
    os.chown(folder, data.stat().st_uid, data.stat().st_gid)
    asyncio.run(_ask(postgres, f"CREATE TABLESPACE {name} LOCATION '{folder}'"))
    asyncio.run(_ask(postgres, f"CREATE DATABASE {name} TABLESPACE {name}"))
    url = postgres.format(name)
    try:
        asyncio.run(migrate(url))
        yield url
    finally:
        asyncio.run(_ask(postgres, f"DROP DATABASE {name} WITH (FORCE)"))
        asyncio.run(_ask(postgres, f"DROP TABLESPACE {name}"))


async def _ask(postgres: str, statement: str) -> str:
    connection = await asyncpg.connect(postgres.format("postgres"))
    try:
        return str(await connection.fetchval(statement))
    finally:
        await connection.close()


def _fill_under_load(stage: Stage, disk: Disk | Ceiling) -> None:
    stage.relay.pace = 0.02
    worker = stage.start(2)
    url = stage.nursery.serve()
    wait_until(lambda: is_ready(url))
    with crowding(url) as crowd:
        wait_until(lambda: len(crowd.accepted) > 20)
        disk.fill()
        wait_until(lambda: crowd.statuses[503] > FEW)
        # What the worker has to write may still fit where something was before: then it goes on.
        wait_until(lambda: "_failed" in worker.log.read_text() or crowd.statuses[503] > MANY)
        disk.make_room()
        goal = len(crowd.accepted) + 20
        wait_until(lambda: len(crowd.accepted) >= goal)
    assert set(crowd.statuses) == {202, 503}
    stage.drain()
    must_have_kept(stage, crowd)
    assert stage.copies() == {}
    assert broken(stage) == []
