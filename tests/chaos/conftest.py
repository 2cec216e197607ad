from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.invariants import broken
from tests.chaos.stages import Stage, staged


@pytest.fixture
def stage(tmp_path: Path, database: str) -> Iterator[Stage]:
    """An installation to attack; in the end every invariant must hold."""
    with staged(tmp_path, database) as opened:
        yield opened
        assert broken(opened) == []
