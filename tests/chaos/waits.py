"""What takes more than a minute: leases that run out by themselves, a server slower than one."""

import time
from pathlib import Path

from tests.chaos.invariants import broken
from tests.chaos.relays import Phase
from tests.chaos.stages import Stage, people, staged

MAILS = 150
LEASE_SECONDS = 60.0
SLOW_SECONDS = 75.0
DRAIN_SECONDS = 30.0


def wait_out(url: str, folder: Path) -> list[str]:
    """Return what did not hold; takes about three minutes."""
    with staged(folder, url) as stage:
        faults = [*_a_slow_server(stage), *_a_dead_worker(stage), *_a_stop_while_it_hangs(stage)]
        return [*faults, *broken(stage)]


def _a_slow_server(stage: Stage) -> list[str]:
    """Let every answer take longer than a lease, while another worker looks for work."""
    stage.database.sign_up(people(MAILS))
    stage.relay.hold(Phase.DOT)
    for _ in range(2):
        stage.start(4)
    time.sleep(SLOW_SECONDS)
    late = stage.database.overdue(1)
    stage.relay.release()
    stage.drain()
    copies = stage.copies().total()
    return [
        *([f"{late} leases ran out while their worker lived"] if late else []),
        *([f"a slow server alone caused {copies} copies"] if copies else []),
    ]


def _a_dead_worker(stage: Stage) -> list[str]:
    """Kill one of two workers; the other takes what the dead one had, and not before its time."""
    stage.relay.hold(Phase.DOT)
    stage.database.sign_up(people(MAILS, MAILS))
    time.sleep(2)
    held_by = stage.database.held_by
    victim = max(stage.workers, key=lambda worker: len(held_by(worker.process.pid)))
    dead = stage.kill(victim)
    stage.relay.release()
    time.sleep(LEASE_SECONDS + 10)
    left = stage.database.held_by(victim.process.pid)
    stage.drain(within=30)
    return [
        *([] if dead.leased else ["the dead worker had nothing"]),
        *([f"{len(left)} leases outlived their time"] if left else []),
    ]


def _a_stop_while_it_hangs(stage: Stage) -> list[str]:
    """Ask a worker to stop whose mail server says nothing any more: it ends all the same."""
    stage.relay.hold(Phase.DOT)
    stage.database.sign_up(people(MAILS, 2 * MAILS))
    time.sleep(2)
    [worker] = stage.workers
    asked = time.monotonic()
    stage.terminate(worker)
    took = time.monotonic() - asked
    for mail in stage.relay.taken:
        mail.is_betrayed |= mail.port == worker.port and not mail.is_answered
    stage.relay.release()
    stage.start(4)
    stage.drain()
    return [] if took < DRAIN_SECONDS + 5 else [f"a worker took {took:.0f} s to stop"]
