"""No path mails somebody who did not confirm or has left."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from sqlalchemy import event, select
from sqlalchemy.engine import Connection
from sqlalchemy.pool import StaticPool

from app.db import suppressions, tables
from app.domain import address
from app.domain.retry import Outcome, Verdict
from app.domain.subscription import Reason
from app.services import consents, links, newsletters, outbox, policies, subscriptions
from app.services.commands import (
    Bounce,
    Command,
    Complain,
    Confirm,
    Done,
    Expire,
    Import,
    SignUp,
    Source,
    Undo,
    Unsubscribe,
)
from app.services.house import House
from app.services.outbox import Tried
from app.tokens import Tokens
from tests.services.models import DAY, MINUTE, RETENTION, Joined, Letter, Model

PEOPLE = st.sampled_from(["ann@example.org", "bob@example.org", "Eve@example.org"])
SLUGS = st.sampled_from(["insights", "offers"])
WHICH = st.integers(0, 50)  # a link or subscription, counted from the newest
WHAT = st.one_of(
    st.tuples(st.just("sign_up"), PEOPLE, SLUGS),
    st.tuples(st.just("sign_up"), PEOPLE, SLUGS),
    st.tuples(st.just("import"), PEOPLE, SLUGS),
    st.tuples(st.just("confirm"), WHICH),
    st.tuples(st.just("confirm"), st.just(0)),
    st.tuples(st.just("unsubscribe"), WHICH),
    st.tuples(st.just("undo"), WHICH),
    st.tuples(st.just("complaint"), st.integers(20, 50)),
    st.tuples(st.just("hard_bounce"), st.integers(20, 50)),
    st.tuples(st.just("expire"), WHICH),
)
STEPS = st.sampled_from([MINUTE, 15 * MINUTE, DAY, 2 * DAY, 8 * DAY, 31 * DAY])
SOURCE = Source(method="form")


class Subscriptions(RuleBasedStateMachine):
    """The real door and the real outbox beside a model of what they should do."""

    def __init__(self, migrated: Path) -> None:
        super().__init__()
        self.model = Model(datetime(2026, 1, 1, tzinfo=UTC))
        self.engine = _in_memory(migrated)
        self.house = House(
            base_url="https://example.org",
            tokens=Tokens(("s" * 40,)),
            hash_key=b"h" * 40,
            clock=lambda: self.model.now,
            shared_clock=lambda _: self.model.now,
        )
        self.ever: list[Joined] = []
        self.tokens: list[tuple[str, Letter]] = []
        with self.engine.begin() as connection:
            self._open(connection)

    def _open(self, connection: Connection) -> None:
        sender = {"name": "N", "from_address": "in@example.org"}
        for slug in ("insights", "offers"):
            row = {"slug": slug, "welcome": slug == "insights", **sender}
            newsletters.create(connection, row, self.model.now)
        policies.publish(connection, "1", "https://example.org/p", "Text.", self.model.now)

    def teardown(self) -> None:
        with self.engine.begin() as connection:
            report = consents.verify(connection)
            assert report.broken is None
        self.engine.dispose()

    @rule(by=STEPS)
    def time_passes(self, by: timedelta) -> None:
        self.model.now += by

    @rule(email=PEOPLE)
    def somebody_was_forgotten_long_ago(self, email: str) -> None:
        hashed = self.house.address_hash(address.parse(email).key)
        with self.engine.begin() as connection:
            suppressions.add(connection, [(hashed, Reason.ERASED)], self.model.now)
        self.model.erased.add(email)

    @rule(what=st.lists(WHAT, min_size=1, max_size=4))
    def commands_arrive(self, what: list[tuple[str, ...]]) -> None:
        before = len(self.model.letters)
        pairs = [pair for one in what if (pair := self._command(*one))]
        with self.engine.begin() as connection:
            results = subscriptions.apply(connection, [c for c, _ in pairs], self.house)
            for (_, expected), result in zip(pairs, results, strict=True):
                assert isinstance(result, Done)
                assert expected is None or result.answer == expected
            self._check_rows(connection)
            self._check_mails(connection, self.model.letters[before:])

    def _command(self, kind: str, *which: str | int) -> tuple[Command, str | None] | None:
        """Return the command and the answer that the model expects; None if nobody is there yet."""
        match kind, which:
            case ("sign_up", (str(email), str(slug))):
                self.model.sign_up(email, slug)
                who = address.parse(email)
                return SignUp(address=who, newsletter=slug, source=SOURCE), "accepted"
            case ("import", (str(email), str(slug))):
                expected = self.model.add(email, slug)
                who = address.parse(email)
                return Import(
                    address=who, newsletter=slug, evidence="paper", source=SOURCE
                ), expected
            case ("confirm", (int(index),)) if self.tokens:
                token, link = self.tokens[-1 - index % len(self.tokens)]
                return self._click(token), self.model.confirm(link)
            case (_, (int(index),)) if kind != "confirm" and self.ever:
                return self._end(kind, self.ever[-1 - index % len(self.ever)])
        return None

    def _click(self, token: str) -> Command:
        read = links.read_confirm(self.house, token)
        return Confirm(
            subscription=read.subscription,
            generation=read.generation,
            sequence=read.sequence,
            expired=read.expired,
            source=SOURCE,
        )

    def _end(self, kind: str, known: Joined) -> tuple[Command, str | None]:
        assert known.id is not None
        if kind == "expire":
            before = self.model.now - RETENTION
            return Expire(subscription=known.id, before=before), self.model.expire(known)
        if kind == "undo":
            return Undo(subscription=known.id, source=SOURCE), self.model.undo(known)
        self.model.leave(known, why=kind)
        made: dict[str, Command] = {
            "unsubscribe": Unsubscribe(subscription=known.id, source=SOURCE),
            "complaint": Complain(subscription=known.id, source=SOURCE),
            "hard_bounce": Bounce(subscription=known.id),
        }
        return made[kind], "left"

    def _check_rows(self, connection: Connection) -> None:
        """Every subscription is as the model says, and learns its identifier."""
        s, who = tables.subscriptions, tables.subscribers
        rows = connection.execute(select(s, who.c.email).join_from(s, who)).all()
        found = {(row.email, row.newsletter): row for row in rows}
        expected = {key: known.status for key, known in self.model.joined.items()}
        assert {key: row.status for key, row in found.items()} == expected
        for key, known in self.model.joined.items():
            if known.id is None:
                known.id = found[key].id
                self.ever.append(known)
            assert (known.id, known.episode) == (found[key].id, found[key].generation)
        owners = set(connection.scalars(select(who.c.email)))
        assert owners == {email for email, _ in self.model.joined}

    def _check_mails(self, connection: Connection, expected: list[Letter]) -> None:
        """The new outbox rows are the mails that the model expects, in their order."""
        o = tables.outbox
        rows = connection.execute(select(o).order_by(o.c.id)).all()
        assert len(rows) == len(self.model.letters)
        for row, letter in zip(rows[len(rows) - len(expected) :], expected, strict=True):
            whose = letter.joined.id
            assert (row.kind, row.subscription_id) == (letter.kind, whose)
            assert (row.generation, row.created_at) == (letter.episode, letter.at)
            if letter.kind == "confirm":
                url = links.confirm_url(
                    self.house, row.subscription_id, row.generation, row.sequence, row.created_at
                )
                self.tokens.append((url.rpartition("/")[2], letter))

    @rule(refused=st.sets(st.integers(0, 5), max_size=1), limit=st.integers(1, 50))
    def a_worker_sends(self, refused: set[int], limit: int) -> None:
        with self.engine.begin() as connection:
            hand = outbox.claim(connection, self.house, "worker", "test", limit)
        sent = [self.model.letters[lease.id - 1] for lease in hand.leases]
        for letter in sent:
            assert not letter.is_settled
            assert self.model.may_leave(letter), f"{letter.kind} may not be mailed any more"
            letter.is_settled = True
        if limit >= 50:
            assert not [m for m in self.model.letters if not m.is_settled and self._is_due(m)]
        verdicts = [
            Verdict(Outcome.REFUSED if n in refused else Outcome.SENT) for n in range(len(sent))
        ]
        tried = [Tried(lease, v) for lease, v in zip(hand.leases, verdicts, strict=True)]
        with self.engine.begin() as connection:
            outbox.settle(connection, self.house, "test", tried)
        for letter, verdict in zip(sent, verdicts, strict=True):
            if verdict.outcome is Outcome.REFUSED:
                self.model.leave(letter.joined, why="hard_bounce")

    def _is_due(self, letter: Letter) -> bool:
        """Tell whether a claim of everything had to bring this one; skipped ones never return."""
        if not self.model.may_leave(letter):
            letter.is_settled = True
        return not letter.is_settled


def _in_memory(migrated: Path) -> sqlalchemy.Engine:
    """Return a copy of the migrated file in memory, with the transactions of the service."""
    engine = sqlalchemy.create_engine("sqlite://", poolclass=StaticPool)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        with closing(sqlite3.connect(migrated)) as source:
            source.backup(connection)
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@pytest.mark.parametrize(("length", "examples"), [(10, 30), (50, 15)])
def test_no_path_mails_somebody_who_did_not_confirm_or_has_left(
    migrated_sqlite: Path, length: int, examples: int
) -> None:
    run_state_machine_as_test(
        lambda: Subscriptions(migrated_sqlite),  # type: ignore[arg-type]
        settings=settings(
            max_examples=examples,
            stateful_step_count=length,
            deadline=None,
            phases=[Phase.reuse, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
