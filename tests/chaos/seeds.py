"""One random story: people come and go, workers die, the mail server has moods."""

import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.invariants import broken, lost
from tests.chaos.relays import DROP, LOSE, Mail, Phase, Rule
from tests.chaos.stages import Stage, Worker, people, staged

SIGKILLS = 3
"""A message that was in hand four times when its worker died is held for a human to look at."""

OVERDUE_SECONDS = 15.0
PHASES = [Phase.GREETING, Phase.EHLO, Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.DOT]
TEMPERS = [
    (Phase.GREETING, "421 4.3.2 too busy"),
    (Phase.EHLO, DROP),
    (Phase.MAIL, "421 4.3.2 shutting down"),
    (Phase.RCPT, "451 4.7.1 greylisted"),
    (Phase.DATA, "451 4.3.0 not now"),
    (Phase.DOT, "452 4.2.2 mailbox full"),
    (Phase.DOT, DROP),
    (Phase.DOT, LOSE),
]


@dataclass(frozen=True)
class Toll:
    """What one story came to."""

    seed: int
    database: str
    kills: int
    stops: int
    mails: int
    sent: int
    left: int
    lost: int
    copies: int
    unsettled: int
    """Answered, and not yet written down, when a worker was killed."""
    most_copies: int
    """Caused by one kill."""
    unanswered: int
    """Taken by the mail server, which then dropped the connection instead of an answer."""
    seconds: float
    faults: list[str]

    @classmethod
    def titles(cls) -> list[str]:
        return [name.replace("_", " ") for name in cls.__annotations__]


def play(seed: int, url: str, folder: Path, mails: int) -> Toll:
    """Play the story of a seed on a migrated database; it always comes to an end."""
    started = time.monotonic()
    with staged(folder, url) as stage:
        story = Story(stage, random.Random(seed), mails)  # noqa: S311 - a story, not a secret
        story.play()
        return Toll(
            seed=seed,
            database=url.partition(":")[0],
            kills=len(stage.kills),
            stops=story.stops,
            mails=sum(stage.database.states().values()),
            sent=stage.database.states()["sent"],
            left=stage.database.states()["skipped"],
            lost=len(lost(stage)),
            copies=stage.copies().total(),
            unsettled=sum(len(kill.unsettled) for kill in stage.kills),
            unanswered=sum(mail.is_betrayed for mail in stage.relay.taken),
            most_copies=max(
                (_copies_of(stage, number) for number in range(len(stage.kills))), default=0
            ),
            seconds=round(time.monotonic() - started, 1),
            faults=broken(stage),
        )


def _copies_of(stage: Stage, number: int) -> int:
    """Return how many that a kill excuses arrived again after it."""
    kill = stage.kills[number]
    again = {m.row for m in stage.relay.taken if m.times[Phase.DOT] > kill.at}
    return len(kill.excused & again)


@dataclass
class Story:
    """What happens next is chance; what has happened is on the stage."""

    stage: Stage
    chance: random.Random
    mails: int
    stops: int = 0
    asked: list[str] = field(default_factory=list)

    def play(self) -> None:
        first = self.mails * 3 // 5
        self._sign_up(first)
        for _ in range(2):
            self.stage.start(self.chance.choice([1, 2, 5, 10]))
        acts = [self._kill] * SIGKILLS + [self._stop] * 2 + [self._sign_up_some] * 2
        acts += [self._let_some_leave] * 2 + [self._restart_mail_server]
        acts += [self._lose_temper] * 2
        self.chance.shuffle(acts)
        for number, act in enumerate(acts):
            self._wait_for_some(number, len(acts))
            self.stage.relay.pace = self.chance.choice([0, 0, 0.002, 0.01, 0.05])
            act()
            self._look_for_old_leases()
        self._sign_up(self.mails - len(self.asked))
        self._end()

    def _end(self) -> None:
        relay = self.stage.relay
        relay.answers.clear()
        relay.pace = 0.0
        relay.release()
        self.stage.drain(within=60 + self.mails / 20)
        for worker in tuple(self.stage.workers):
            self.stage.terminate(worker)

    def _wait_for_some(self, number: int, acts: int) -> None:
        """Let mail flow for a while: up to a share of it, or a second at most."""
        goal = self.mails * number // acts * self.chance.random()
        deadline = time.monotonic() + min(1.0, self.mails / 1000)
        while len(self.stage.relay.taken) < goal and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(self.chance.uniform(0, 0.1))

    def _sign_up(self, count: int) -> None:
        coming = people(count, len(self.asked))
        self.asked += coming
        self.stage.database.sign_up(coming)

    def _sign_up_some(self) -> None:
        self._sign_up(min(self.mails // 10, self.mails - len(self.asked)))

    def _let_some_leave(self) -> None:
        self.stage.depart(set(self.chance.sample(self.asked, len(self.asked) // 20)))

    def _kill(self) -> None:
        """Kill a worker: just so, while a phase is held, or while nothing can be settled."""
        worker = self.chance.choice(self.stage.workers)
        self.chance.choice([self._kill_at_once, self._kill_in_a_phase, self._kill_unsettled])(
            worker
        )
        self.stage.database.lapse(worker.process.pid)
        self.stage.start(self.chance.choice([1, 2, 5, 10]))

    def _kill_at_once(self, worker: Worker) -> None:
        self.stage.kill(worker)

    def _kill_in_a_phase(self, worker: Worker) -> None:
        phase = self.chance.choice(PHASES)
        self.stage.relay.hold(phase)
        time.sleep(self.chance.uniform(0, 0.5))
        self.stage.kill(worker)
        self.stage.relay.release(phase)

    def _kill_unsettled(self, worker: Worker) -> None:
        with self.stage.database.locked():
            time.sleep(self.chance.uniform(0, 0.5))
            self.stage.kill(worker)

    def _stop(self) -> None:
        self.stops += 1
        self.stage.terminate(self.chance.choice(self.stage.workers))
        self.stage.start(self.chance.choice([1, 2, 5, 10]))

    def _restart_mail_server(self) -> None:
        self.stage.relay.drop_all()

    def _lose_temper(self) -> None:
        """Let the server say no, or nothing, now and then; later tries come early."""
        phase, reply = self.chance.choice(TEMPERS)
        self.stage.relay.answers[phase] = _every(self.chance.randint(2, 20), reply)
        time.sleep(self.chance.uniform(0, 0.5))
        self.stage.database.hasten()

    def _look_for_old_leases(self) -> None:
        if late := self.stage.database.overdue(OVERDUE_SECONDS):
            self.stage.faults.append(f"{late} leases outlived their time")


def _every(number: int, reply: str) -> Rule:
    """Say it to each so many-th."""
    asked = 0

    def rule(_: Mail) -> str | None:
        nonlocal asked
        asked += 1
        return None if asked % number else reply

    return rule
