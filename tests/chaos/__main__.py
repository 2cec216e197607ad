"""Random stories in numbers: `python -m tests.chaos --seeds 50 --database sqlite --mails 2000`."""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from uuid import uuid4

from tests.chaos.seeds import Toll, play
from tests.chaos.servers import migrate
from tests.chaos.waits import wait_out
from tests.conftest import create_database, start_postgres

MakeDatabase = Callable[[Path], str]


def main() -> int:
    options = _options()
    broken = 0
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base)
        _print(" ".join(f"{title:>11}" for title in Toll.titles()))
        for name in options.database or ["sqlite", "postgresql"]:
            make = _sqlite(folder) if name == "sqlite" else _postgresql(folder)
            for seed in range(options.first, options.first + options.seeds):
                broken += _told(_played(seed, make, folder, options.mails))
            if not options.no_waits:
                broken += _waited(make, folder)
    return 1 if broken else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--mails", type=int, default=2000)
    parser.add_argument("--database", action="append", choices=["sqlite", "postgresql"])
    parser.add_argument("--no-waits", action="store_true", help="skip what takes minutes")
    return parser.parse_args()


def _played(seed: int, make: MakeDatabase, base: Path, mails: int) -> Toll:
    folder = base / uuid4().hex
    folder.mkdir()
    toll = play(seed, make(folder), folder, mails)
    shutil.rmtree(folder)
    return toll


def _told(toll: Toll) -> bool:
    *numbers, faults = astuple(toll)
    _print(" ".join(f"{value:>11}" for value in (*numbers, "; ".join(faults) or "-")))
    return bool(faults)


def _waited(make: MakeDatabase, base: Path) -> bool:
    folder = base / uuid4().hex
    folder.mkdir()
    faults = wait_out(make(folder), folder)
    _print(f"leases that run out, a server slower than a lease: {'; '.join(faults) or '-'}")
    return bool(faults)


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _sqlite(base: Path) -> MakeDatabase:
    migrated = base / "migrated.db"
    asyncio.run(migrate(f"sqlite:///{migrated}"))

    def make(folder: Path) -> str:
        shutil.copy(migrated, folder / "newsletter.db")
        return f"sqlite:///{folder / 'newsletter.db'}"

    return make


def _postgresql(base: Path) -> MakeDatabase:
    url = start_postgres(base / "postgres").get_uri("{}")
    asyncio.run(create_database(url, "migrated", "template1"))
    asyncio.run(migrate(url.format("migrated")))

    def make(_: Path) -> str:
        name = f"chaos_{uuid4().hex}"
        asyncio.run(create_database(url, name, "migrated"))
        return url.format(name)

    return make


if __name__ == "__main__":
    sys.exit(main())
