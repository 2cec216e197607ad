from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.invariants import broken
from tests.chaos.stages import Stage, staged
from tests.mail.conftest import Certificate, issue


@pytest.fixture
def stage(tmp_path: Path, database: str) -> Iterator[Stage]:
    """An installation to attack; in the end every invariant must hold."""
    with staged(tmp_path, database) as opened:
        yield opened
        assert broken(opened) == []


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for localhost only; a worker trusts it if SSL_CERT_FILE names its file."""
    return issue(tmp_path_factory.mktemp("certificate"))
