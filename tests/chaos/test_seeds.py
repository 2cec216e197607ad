"""A few random stories; `python -m tests.chaos` plays many, and long ones."""

from pathlib import Path

import pytest

from tests.chaos.seeds import play


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_happens_no_mail_is_lost(tmp_path: Path, database: str, seed: int) -> None:
    toll = play(seed, database, tmp_path, 300)
    assert toll.faults == []
    assert (toll.mails, toll.lost) == (300, 0)
    assert toll.sent + toll.left == 300
