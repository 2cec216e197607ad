import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.processes import Installation, furnish, installed


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Installation]:
    """An installation whose database, SQLite in its data folder, is not there yet."""
    with installed(tmp_path, data_dir=str(tmp_path)) as made:
        yield made


@pytest.fixture
def open_house(house: Installation, migrated_sqlite: Path) -> Installation:
    """An installation on SQLite with a newsletter and a policy."""
    shutil.copy(migrated_sqlite, house.folder / "newsletter.db")
    furnish(house)
    return house
