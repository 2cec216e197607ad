import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.processes import Installation, PostOffice, installed, post_office


@pytest.fixture
def office() -> Iterator[PostOffice]:
    with post_office() as opened:
        yield opened


@pytest.fixture
def chromium() -> str:
    found = shutil.which("chromium")
    if found is None:
        missing = "there is no chromium"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    return str(found)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with installed(tmp_path) as made:
        yield made
