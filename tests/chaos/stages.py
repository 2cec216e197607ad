"""One installation under attack: its database, its mail server, its workers, and the toll."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from app.db.tables import outbox
from app.main import house_of
from app.settings import Settings
from tests.chaos.databases import Database, seen
from tests.chaos.forks import Forked, Nursery
from tests.chaos.loops import looping
from tests.chaos.relays import Relay, relaying
from tests.journeys.processes import SECRETS, furnish, wait_until

BASE_URL = "http://127.0.0.1:8000"
UNSETTLED = 100
"""The contract: settles are never more than 100 messages behind the server's answers."""


@dataclass(frozen=True)
class Worker:
    """A worker, and the port of the mail server that only this one knows."""

    process: Forked
    port: int
    connections: int
    log: Path

    @property
    def is_up(self) -> bool:
        return "worker_started" in self.log.read_text()


@dataclass(frozen=True)
class Kill:
    """A worker that was killed: what it had leased, what of that was taken, and answered."""

    at: float
    connections: int
    leased: frozenset[int]
    on_wire: frozenset[int]
    unsettled: frozenset[int]

    @property
    def excused(self) -> frozenset[int]:
        """Return the rows that may arrive once more."""
        return self.on_wire | self.unsettled


@dataclass
class Stage:
    """Everything that plays together."""

    database: Database
    relay: Relay
    nursery: Nursery
    workers: list[Worker] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    left: set[str] = field(default_factory=set)
    departed: dict[str, float] = field(default_factory=dict)
    """Who left while the mail to them was still waiting, and when."""
    faults: list[str] = field(default_factory=list)

    def start(self, connections: int = 10, query: str = "", host: str = "127.0.0.1") -> Worker:
        """Start a worker and wait until it runs."""
        worker = self.launch(connections, query, host)
        wait_until(lambda: worker.is_up)
        return worker

    def launch(self, connections: int = 10, query: str = "", host: str = "127.0.0.1") -> Worker:
        """Start a worker."""
        port = self.relay.listen()
        variables = self.nursery.environment
        variables["NEWSLETTER_MAIL_URL"] = f"smtp://{host}:{port}{query}"
        variables["NEWSLETTER_MAIL_CONNECTIONS"] = str(connections)
        log = self.nursery.log(len(self.nursery.started))
        worker = Worker(self.nursery.start("work"), port, connections, log)
        self.workers.append(worker)
        return worker

    def kill(self, worker: Worker) -> Kill:
        """SIGKILL a worker, and write down what it had in hand."""
        worker.process.kill()
        assert worker.process.wait(10) == -signal.SIGKILL
        self.workers.remove(worker)
        self.relay.catch_up()
        leased = self.database.held_by(worker.process.pid)
        answered = self.relay.answered(worker.port)
        taken = {mail.row for mail in self.relay.taken if mail.port == worker.port}
        kill = Kill(
            at=time.monotonic(),
            connections=worker.connections,
            leased=frozenset(leased),
            on_wire=frozenset((taken - answered) & leased),
            unsettled=frozenset(answered & leased),
        )
        self.kills.append(kill)
        return kill

    def terminate(self, worker: Worker) -> None:
        """SIGTERM a worker; it must end cleanly and leave nothing leased."""
        self.ask_to_stop(worker)
        self.must_stop(worker)

    def ask_to_stop(self, worker: Worker) -> None:
        worker.process.send_signal(signal.SIGTERM)

    def must_stop(self, worker: Worker) -> None:
        code = worker.process.wait(40)
        self.workers.remove(worker)
        if code != 0:
            self.faults.append(f"a worker ended with {code} on SIGTERM")
        if leased := self.database.held_by(worker.process.pid):
            self.faults.append(f"a worker that stopped kept {len(leased)} leases")

    def depart(self, emails: set[str]) -> None:
        """Let people leave; remember those whose mail nobody had claimed by then."""
        self.database.leave(emails)
        with self.database.locked():  # every claim that began before has ended
            rows = self.database.mails(outbox.c.state == "waiting")
            now = time.monotonic()
        self.left |= emails
        self.departed |= {row["email"]: now for row in rows if row["email"] in emails}

    def drain(self, within: float = 60.0) -> None:
        """Wait until nothing is owed any more; later tries become due at once."""
        deadline = time.monotonic() + within
        while not self.database.is_drained():
            assert time.monotonic() < deadline, f"it does not drain: {self.database.states()}"
            self.database.hasten()
            time.sleep(0.1)

    def copies(self) -> Counter[int]:
        """Return how many copies of each row arrived beyond the first."""
        return Counter({row: n - 1 for row, n in self.relay.arrivals.items() if n > 1})


@contextmanager
def staged(folder: Path, url: str) -> Iterator[Stage]:
    """Have an installation with a newsletter while inside, on a migrated database."""
    secrets = {name.removeprefix("NEWSLETTER_").lower(): value for name, value in SECRETS.items()}
    settings = Settings.without_file(
        base_url=BASE_URL,
        secret_keys=(SecretStr(secrets["secret_keys"]),),
        hash_key=SecretStr(secrets["hash_key"]),
        database_url=SecretStr(url),
    )
    variables = {**SECRETS, "NEWSLETTER_BASE_URL": BASE_URL, "NEWSLETTER_DATABASE_URL": url}
    with ExitStack() as stack:
        loop = stack.enter_context(looping())
        relay = stack.enter_context(relaying(loop))
        nursery = Nursery(folder, variables)
        stack.callback(nursery.close)
        furnish(nursery)
        database = stack.enter_context(seen(url, house_of(settings), loop))
        yield Stage(database, relay, nursery)


def people(count: int, first: int = 0) -> list[str]:
    return [f"reader{number}@example.org" for number in range(first, first + count)]
