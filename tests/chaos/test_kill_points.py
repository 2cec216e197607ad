"""A worker dies at each point of a mail's way; another one comes, and the mail arrives."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import sleep

import pytest

from tests.chaos.relays import Phase
from tests.chaos.stages import UNSETTLED, Stage, Worker, people
from tests.journeys.processes import wait_until

MAILS = 150
CONNECTIONS = 4


@contextmanager
def before_the_claim(stage: Stage) -> Iterator[Worker]:
    with stage.database.locked():
        worker = stage.start(CONNECTIONS)
        wait_until(stage.database.is_waited_for)
        sleep(0.2)
        yield worker
        assert not [mail for mail in stage.relay.mails if mail.port == worker.port]


@contextmanager
def _held_in(stage: Stage, phase: Phase) -> Iterator[Worker]:
    stage.relay.hold(phase)
    worker = stage.start(CONNECTIONS)
    wait_until(lambda: stage.relay.parked(phase) == CONNECTIONS)
    yield worker
    stage.relay.release()


@contextmanager
def after_the_claim(stage: Stage) -> Iterator[Worker]:
    with _held_in(stage, Phase.GREETING) as worker:
        assert stage.database.held_by(worker.process.pid)
        yield worker


@contextmanager
def after_mail(stage: Stage) -> Iterator[Worker]:
    with _held_in(stage, Phase.RCPT) as worker:
        yield worker


@contextmanager
def after_the_dot(stage: Stage) -> Iterator[Worker]:
    with _held_in(stage, Phase.DOT) as worker:
        yield worker


@contextmanager
def before_the_settle(stage: Stage) -> Iterator[Worker]:
    """The server has answered as many as the worker may have unsettled: nothing more comes."""
    with _held_in(stage, Phase.DOT) as worker, stage.database.locked():
        stage.relay.release()
        wait_until(lambda: len(stage.relay.answered(worker.port)) == UNSETTLED)
        sleep(0.3)
        assert len(stage.relay.answered(worker.port)) == UNSETTLED
        yield worker


@contextmanager
def after_the_settle(stage: Stage) -> Iterator[Worker]:
    with _held_in(stage, Phase.DOT) as worker:
        stage.relay.let(Phase.DOT, 20)
        wait_until(lambda: len(stage.relay.answered(worker.port)) == 20)
        wait_until(lambda: stage.database.states()["sent"] == len(stage.relay.answered()))
        wait_until(lambda: stage.relay.parked(Phase.DOT) == CONNECTIONS)
        yield worker


Point = Callable[[Stage], AbstractContextManager[Worker]]
POINTS: dict[Point, int] = {
    before_the_claim: 0,
    after_the_claim: 0,
    after_mail: 0,
    after_the_dot: CONNECTIONS,
    before_the_settle: UNSETTLED,
    after_the_settle: CONNECTIONS,
}
"""Each point, and how many copies it excuses."""


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.__name__)
def test_a_worker_is_killed(stage: Stage, point: Point) -> None:
    stage.database.sign_up(people(MAILS))
    with point(stage) as worker:
        kill = stage.kill(worker)
    assert len(kill.excused) == POINTS[point]
    stage.database.lapse(worker.process.pid)
    successor = stage.start(CONNECTIONS)
    stage.drain()
    assert set(stage.copies()) == kill.excused
    stage.terminate(successor)


def test_a_worker_is_asked_to_stop_at_each_point(stage: Stage) -> None:
    """What one gives back, the next one takes: nobody has to wait for a lease to run out."""
    for number, point in enumerate(POINTS):
        stage.database.sign_up(people(MAILS, number * MAILS))
        with point(stage) as worker:
            stage.ask_to_stop(worker)
            sleep(0.1)
        stage.must_stop(worker)
        taken = len(stage.relay.taken)
        assert stage.database.states()["sent"] == taken
        assert stage.database.states()["waiting"] == (number + 1) * MAILS - taken
    stage.start(CONNECTIONS)
    stage.drain()
    assert stage.copies() == {}
