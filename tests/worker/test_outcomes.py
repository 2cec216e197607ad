from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from app.db import tables
from app.domain.retry import Outcome, Verdict
from app.mail.maildir import MaildirTransport
from app.mail.message import parse
from app.tokens import Purpose, Tokens
from tests.conftest import SECRET, Clock, Mailbox
from tests.worker.stage import Scripted, Stage, people

pytestmark = pytest.mark.anyio

GREYLISTED = Verdict(Outcome.RETRY_RECIPIENT, "450 4.2.1")
LOST = Verdict(Outcome.UNKNOWN, "TimeoutError")
REFUSED = Verdict(Outcome.REFUSED, "550 5.1.1")
BAD = Verdict(Outcome.BAD_MESSAGE, "554 5.6.0")


async def test_a_sent_mail_is_settled_with_what_the_server_called_it(
    stage: Stage, transport: Scripted, clock: Clock
) -> None:
    transport.script["ann@example.org"] = [Verdict(Outcome.SENT, provider_id="queue-7")]
    await stage.ask("ann@example.org")
    await stage.deliver(transport)
    mail = await stage.mail("ann@example.org")
    assert (mail["state"], mail["outcome"], mail["provider_id"]) == ("sent", "sent", "queue-7")
    assert (mail["attempts"], mail["settled_at"], mail["leased_by"]) == (1, clock.now, None)


@pytest.mark.parametrize("verdict", [GREYLISTED, LOST])
async def test_one_recipient_is_tried_again_ever_more_slowly(
    stage: Stage, transport: Scripted, clock: Clock, verdict: Verdict
) -> None:
    transport.script["ann@example.org"] = [verdict] * 7
    await stage.ask("ann@example.org")
    for attempt, minutes in enumerate((5, 15, 30, 60, 120, 240, 240), 1):
        await stage.deliver(transport)
        mail = await stage.mail("ann@example.org")
        assert (mail["state"], mail["attempts"]) == ("waiting", attempt)
        assert minutes <= _minutes(mail["due_at"], clock.now) < minutes * 1.2
        clock.now = mail["due_at"] - timedelta(microseconds=1)
        await stage.deliver(transport)
        assert len(transport.tried) == attempt
        clock.now = mail["due_at"]
    await stage.deliver(transport)
    assert await stage.states() == {"ann@example.org": "sent"}


def _minutes(due: datetime, now: datetime) -> float:
    return (due - now) / timedelta(minutes=1)


async def test_every_attempt_sends_the_same_bytes_under_the_same_message_id(
    stage: Stage, transport: Scripted, clock: Clock
) -> None:
    transport.script["ann@example.org"] = [GREYLISTED, LOST]
    await stage.ask("ann@example.org")
    for _ in range(3):
        await stage.deliver(transport)
        clock.advance(hours=2)
    first, second, third = transport.tried
    assert first == second == third
    assert parse(first.content)["Message-ID"] == parse(third.content)["Message-ID"]


async def test_a_second_attempt_replaces_the_first_in_a_maildir(
    stage: Stage, transport: Scripted, mailbox: Mailbox, clock: Clock
) -> None:
    await stage.ask("ann@example.org")
    [lease] = await stage.claim()
    await stage.settle(lease, Outcome.UNKNOWN)
    maildir = MaildirTransport(mailbox.folder, 1)
    clock.advance(hours=1)
    await stage.deliver(maildir)
    [before] = mailbox.mails
    await stage.run(_wait_again)
    await stage.deliver(maildir)
    assert mailbox.mails == [before]
    await stage.deliver(transport)
    assert transport.tried == []


def _wait_again(connection: object) -> None:
    connection.execute(tables.outbox.update().values(state="waiting"))  # type: ignore[attr-defined]


async def test_a_confirmation_is_given_up_when_its_link_expires(
    stage: Stage, transport: Scripted, clock: Clock
) -> None:
    transport.script["ann@example.org"] = [GREYLISTED]
    await stage.ask("ann@example.org")
    [lease] = await stage.claim()
    clock.advance(days=7)
    await stage.settle(lease, Outcome.RETRY_RECIPIENT)
    assert await stage.states() == {"ann@example.org": "failed"}


async def test_a_welcome_is_given_up_after_four_days(
    stage: Stage, transport: Scripted, clock: Clock
) -> None:
    await stage.ask("ann@example.org")
    await stage.deliver(transport)
    await stage.confirm("ann@example.org")
    transport.script["ann@example.org"] = [GREYLISTED] * 99
    last_try = clock.now
    while (mail := await stage.mail("ann@example.org"))["state"] == "waiting":
        clock.now = last_try = mail["due_at"]
        await stage.deliver(transport)
    assert mail["state"] == "failed"
    assert timedelta(days=4) <= last_try - mail["created_at"] < timedelta(days=4, hours=5)


async def test_a_refused_address_is_suppressed_through_the_door_and_stays_as_it_was(
    stage: Stage, transport: Scripted, clock: Clock
) -> None:
    transport.script["nobody@example.org"] = [REFUSED]
    await stage.ask("nobody@example.org", "ann@example.org")
    await stage.deliver(transport)
    mail = await stage.mail("nobody@example.org")
    assert (mail["state"], mail["outcome"]) == ("failed", "refused 550 5.1.1")

    found = await stage.run(lambda c: c.execute(tables.suppressions.select()).all())
    hashed = stage.house.address_hash("nobody@example.org")
    assert [(row.hash, row.reason) for row in found] == [(hashed, "hard_bounce")]

    clock.advance(hours=1)
    await stage.ask("nobody@example.org", "ann@example.org")
    await stage.deliver(transport)
    assert transport.recipients.count("nobody@example.org") == 1
    assert transport.recipients.count("ann@example.org") == 2


async def test_a_bad_message_is_held_and_blocks_nobody(
    stage: Stage, transport: Scripted, clock: Clock
) -> None:
    transport.connections = 1
    transport.script["reader0@example.org"] = [BAD]
    await stage.ask(*people(4))
    await stage.deliver(transport)
    clock.advance(days=1)
    await stage.deliver(transport)
    states = await stage.states()
    assert states.pop("reader0@example.org") == "held"
    assert set(states.values()) == {"sent"}
    assert transport.recipients == list(people(4))
    assert await stage.pause() == {}


class Jammed(Tokens):
    """Fails to sign for one moment in time."""

    def sign(self, purpose: Purpose, payload: bytes, at: datetime) -> str:
        if at.microsecond == 13:
            raise LookupError(purpose)
        return super().sign(purpose, payload, at)


async def test_a_mail_that_cannot_be_composed_is_held_and_blocks_nobody(
    stage: Stage, transport: Scripted, clock: Clock
) -> None:
    jammed = replace(stage, house=replace(stage.house, tokens=Jammed((SECRET,))))
    clock.now = clock.now.replace(microsecond=13)
    await stage.ask("ann@example.org")
    clock.now = clock.now.replace(microsecond=14)
    await stage.ask(*people(4))
    await jammed.deliver(transport)

    mail = await stage.mail("ann@example.org")
    assert (mail["state"], mail["outcome"]) == ("held", "bad_message LookupError")
    assert sorted(transport.recipients) == sorted(people(4))


async def test_a_newsletter_whose_name_cannot_stand_in_a_mail_holds_only_its_own(
    stage: Stage, transport: Scripted
) -> None:
    await stage.ask("ann@example.org")
    broken = tables.newsletters.update().values(from_address="not an address")
    await stage.run(lambda connection: connection.execute(broken))
    await stage.deliver(transport)
    mail = await stage.mail("ann@example.org")
    assert (mail["state"], mail["outcome"]) == ("held", "bad_message ComposeError")


class Broken(Scripted):
    async def send(self, message: object) -> Verdict:
        raise ZeroDivisionError(message)


async def test_a_defect_of_the_transport_loses_nothing(stage: Stage, transport: Scripted) -> None:
    await stage.ask("ann@example.org")
    await stage.deliver(Broken())
    mail = await stage.mail("ann@example.org")
    assert (mail["state"], mail["outcome"]) == ("waiting", "unknown ZeroDivisionError")
    assert transport.tried == []
