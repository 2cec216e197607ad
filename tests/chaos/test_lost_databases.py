"""PostgreSQL is stopped at once, again and again, under load: nobody is lost, nothing doubled."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.domain.errors import Unavailable
from tests.chaos.crowds import crowding
from tests.chaos.invariants import broken
from tests.chaos.servers import OwnServer, own_server
from tests.chaos.stages import Stage, staged
from tests.chaos.test_killed_servers import must_have_kept
from tests.journeys.processes import is_ready, wait_until

STOPS = 2


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnServer]:
    with own_server(tmp_path / "postgres") as server:
        yield server


def test_postgresql_is_stopped_at_once_under_load(tmp_path: Path, own: OwnServer) -> None:
    with staged(tmp_path, own.url) as stage:
        stage.relay.pace = 0.005
        stage.start(4)
        url = stage.nursery.serve()
        wait_until(lambda: is_ready(url))
        with crowding(url) as crowd:
            for _ in range(STOPS):
                goal = len(stage.relay.taken) + 40
                wait_until(lambda: len(stage.relay.taken) >= goal)  # noqa: B023
                own.stop_at_once()
                assert not is_ready(url)
                wait_until(lambda: crowd.statuses[503])
                own.start()
                wait_until(lambda: is_ready(url))
            goal = len(crowd.accepted) + 40
            wait_until(lambda: len(crowd.accepted) >= goal)
        assert set(crowd.statuses) == {202, 503}
        wait_until(lambda: _is_quiet(stage))
        # A claim whose answer was lost is nobody's: its leases run out.
        stage.database.lapse()
        stage.drain()
        must_have_kept(stage, crowd)
        assert stage.copies() == {}
        assert broken(stage) == []


def _is_quiet(stage: Stage) -> bool:
    """Tell whether the worker has nothing left to send and nothing to settle."""
    try:
        stage.database.hasten()
        before = stage.database.states()
    except Unavailable:
        return False  # connections of the time before the stop
    time.sleep(1.0)
    return not before["waiting"] and before == stage.database.states()
