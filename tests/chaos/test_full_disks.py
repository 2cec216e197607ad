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
from tests.chaos.disks import Disk, mounted
from tests.chaos.invariants import broken
from tests.chaos.servers import migrate
from tests.chaos.stages import Stage, staged
from tests.chaos.test_killed_servers import must_have_kept
from tests.journeys.processes import is_ready, wait_until


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    try:
        with mounted(tmp_path / "disk", 32) as small:
            yield small
    except PermissionError as error:
        pytest.skip(str(error))


def test_sqlite_meets_a_full_disk_under_load(
    tmp_path: Path, disk: Disk, migrated_sqlite: Path
) -> None:
    file = disk.folder / "newsletter.db"
    shutil.copy(migrated_sqlite, file)
    with staged(tmp_path, f"sqlite:///{file}") as stage:
        _fill_under_load(stage, disk)


def test_postgresql_meets_a_full_disk_under_load(tmp_path: Path, disk: Disk, postgres: str) -> None:
    with _on_disk(postgres, disk) as url, staged(tmp_path, url) as stage:
        _fill_under_load(stage, disk)


@contextmanager
def _on_disk(postgres: str, disk: Disk) -> Iterator[str]:
    """Have a database whose tables are on the small disk; its log is elsewhere."""
    folder = disk.folder / "space"
    folder.mkdir()
    owner = Path(asyncio.run(_ask(postgres, "SHOW data_directory"))).stat()
    os.chown(folder, owner.st_uid, owner.st_gid)
    name = f"small_{uuid4().hex}"
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


def _fill_under_load(stage: Stage, disk: Disk) -> None:
    stage.relay.pace = 0.02
    worker = stage.start(2)
    url = stage.nursery.serve()
    wait_until(lambda: is_ready(url))
    with crowding(url) as crowd:
        wait_until(lambda: len(crowd.accepted) > 40)
        disk.fill()
        wait_until(lambda: crowd.statuses[503] > 20)
        wait_until(lambda: "_failed" in worker.log.read_text())
        disk.make_room()
        goal = len(crowd.accepted) + 40
        wait_until(lambda: len(crowd.accepted) >= goal)
    assert set(crowd.statuses) == {202, 503}
    stage.drain()
    must_have_kept(stage, crowd)
    assert stage.copies() == {}
    assert broken(stage) == []
