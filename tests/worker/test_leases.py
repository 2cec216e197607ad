import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from app.db.leases import LEASE
from app.domain.errors import Unavailable
from app.domain.rate import Rate
from app.domain.retry import Outcome
from app.services import outbox
from app.worker import deliver
from tests.conftest import Clock
from tests.worker.stage import Frail, Scripted, Stage, eventually, people

pytestmark = pytest.mark.anyio


async def test_a_lease_holds_for_sixty_seconds_and_is_then_anybodys(
    stage: Stage, clock: Clock
) -> None:
    await stage.ask("ann@example.org")
    [lost] = await stage.claim("dead")
    clock.advance(seconds=59.9)
    assert await stage.claim("other") == []
    clock.advance(seconds=0.1)
    [taken] = await stage.claim("other")
    assert taken.id == lost.id
    assert taken.lease_generation > lost.lease_generation


async def test_a_late_sent_is_a_fact_whoever_holds_the_lease_now(
    stage: Stage, clock: Clock
) -> None:
    await stage.ask("ann@example.org")
    [late] = await stage.claim("slow")
    clock.advance(minutes=1)
    [current] = await stage.claim("other")

    await stage.settle(late, Outcome.SENT)
    assert (await stage.mail("ann@example.org"))["state"] == "sent"

    await stage.settle(current, Outcome.RETRY_RECIPIENT)
    mail = await stage.mail("ann@example.org")
    assert (mail["state"], mail["attempts"], mail["leased_by"]) == ("sent", 1, None)


@pytest.mark.parametrize(
    "outcome", [Outcome.RETRY_RECIPIENT, Outcome.UNKNOWN, Outcome.BAD_MESSAGE, Outcome.REFUSED]
)
async def test_any_other_late_word_does_not_settle_the_mail_of_another(
    stage: Stage, clock: Clock, outcome: Outcome
) -> None:
    await stage.ask("ann@example.org")
    [late] = await stage.claim("slow")
    clock.advance(minutes=1)
    await stage.claim("other")
    await stage.settle(late, outcome)
    mail = await stage.mail("ann@example.org")
    assert (mail["state"], mail["leased_by"], mail["attempts"]) == ("leased", "other", 0)


async def _lose(stage: Stage, clock: Clock, times: int) -> None:
    for _ in range(times):
        await stage.claim("dying")
        clock.advance(seconds=LEASE.total_seconds())


async def test_a_mail_that_three_workers_died_of_is_sent_alone_and_then_held(
    stage: Stage, clock: Clock
) -> None:
    await stage.ask("poison@example.org", "toxin@example.org")
    await _lose(stage, clock, 3)
    await stage.ask("ann@example.org")

    assert [lease.email for lease in await stage.claim()] == ["ann@example.org"]
    [alone] = await stage.claim()
    assert alone.email == "poison@example.org"
    clock.advance(minutes=1)
    await stage.claim()
    held = await stage.mail("poison@example.org")
    assert (held["state"], held["outcome"]) == ("held", "lease expired")


async def test_a_suspect_is_on_the_wire_with_no_other_mail_of_its_worker(
    stage: Stage, transport: Scripted, clock: Clock
) -> None:
    transport.pace = 0.05
    await stage.ask(*people(3))
    await _lose(stage, clock, 3)
    await stage.deliver(transport)
    assert transport.recipients == list(people(3))
    assert transport.most_on_wire == 1
    assert set((await stage.states()).values()) == {"sent"}


@pytest.fixture
def renewing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renew leases every few milliseconds instead of every 20 seconds."""
    monkeypatch.setattr(deliver, "RENEW_EVERY", 0.02)


@pytest.mark.usefixtures("renewing")
async def test_a_server_slower_than_the_lease_never_causes_a_copy(
    stage: Stage, transport: Scripted, clock: Clock
) -> None:
    transport.gate.clear()
    await stage.ask(*people(5))
    async with stage.working(transport):
        await eventually(lambda: len(transport.on_wire) == 2)
        for _ in range(6):
            before = clock.now
            clock.advance(seconds=30)
            await eventually(lambda: _are_renewed(stage, clock))
            assert await stage.claim("other") == [], before
        transport.gate.set()
        await eventually(lambda: len(transport.tried) == 5 and not transport.on_wire)

    assert sorted(transport.recipients) == sorted(people(5))
    mails = await stage.mails()
    assert {(mail["state"], mail["expirations"]) for mail in mails} == {("sent", 0)}


async def _are_renewed(stage: Stage, clock: Clock) -> bool:
    return all(mail["lease_until"] == clock.now + LEASE for mail in await stage.mails())


@pytest.mark.usefixtures("renewing")
async def test_what_is_claimed_during_a_renewal_stays_in_hand(
    stage: Stage, transport: Scripted
) -> None:
    transport.connections = 1
    transport.gate.clear()
    renewed = asyncio.Event()
    held_back = asyncio.Event()

    def hold(work: Callable[..., object]) -> object:
        if work is outbox.renew and transport.on_wire and not renewed.is_set():
            renewed.set()
            return held_back
        return None

    await stage.ask("ann@example.org")
    frail = Frail(stage.engine, after=hold)
    async with stage.working(transport, frail):
        await renewed.wait()
        await stage.ask("bob@example.org")
        await eventually(lambda: stage.are_leased(2))
        held_back.set()
        await asyncio.sleep(0.05)
        transport.gate.set()
        await eventually(lambda: transport.recipients == ["ann@example.org", "bob@example.org"])


async def test_a_mail_with_little_time_left_is_not_put_on_the_wire(
    stage: Stage, transport: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "LEASE_SECONDS", 9.9)
    await stage.ask("ann@example.org")
    await stage.deliver(transport)
    assert transport.tried == []
    assert await stage.states() == {"ann@example.org": "leased"}


async def test_a_lease_that_ran_out_in_our_own_hands_sends_no_copy(
    stage: Stage, transport: Scripted, clock: Clock
) -> None:
    transport.gate.clear()
    await stage.ask("ann@example.org")
    async with stage.working(transport):
        await eventually(lambda: transport.on_wire)
        clock.advance(seconds=61)  # nothing was renewed: the row is due again, and ours
        await stage.ask("bob@example.org")
        await eventually(lambda: stage.are_leased(2))
        transport.gate.set()
        await eventually(lambda: stage.is_sent("ann@example.org"))
        await eventually(lambda: stage.is_sent("bob@example.org"))
    assert sorted(transport.recipients) == ["ann@example.org", "bob@example.org"]
    assert (await stage.mail("ann@example.org"))["expirations"] == 1


async def test_a_suspect_goes_alone_also_where_a_pace_makes_several_rounds(
    stage: Stage, clock: Clock
) -> None:
    await stage.ask("poison@example.org")
    await _lose(stage, clock, 3)
    slow = replace(stage, house=replace(stage.house, domain_rates={"example.com": Rate(1, 60)}))
    await slow.ask("a@example.com", "b@example.com", "c@example.org")
    found = [lease.email for lease in await slow.claim()]
    assert found == ["a@example.com", "c@example.org"]


async def test_after_an_outage_those_who_have_answers_come_first(
    stage: Stage, transport: Scripted, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(deliver, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(deliver, "PATIENCE_SECONDS", 1.0)
    frail = Frail(stage.engine, away=True)
    await stage.ask("sent@example.org")
    [sent] = await stage.claim("slow")
    clock.advance(minutes=2)
    async with stage.working(transport, frail):
        await eventually(lambda: frail.refused)
        await stage.ask("new@example.org")
        frail.away = False
        await eventually(lambda: transport.recipients == ["new@example.org"])
        await stage.settle(sent, Outcome.SENT)
        await asyncio.sleep(1.2)  # longer than the patience: what was lost would be sent by now
    assert transport.recipients == ["new@example.org"]


@pytest.mark.usefixtures("renewing")
async def test_what_is_answered_and_not_written_is_renewed_too(
    stage: Stage, transport: Scripted, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "AGAIN_SECONDS", 0.01)
    frail = Frail(stage.engine)
    await stage.ask("ann@example.org")

    def refuse(work: object) -> None:
        if work in {outbox.settle, outbox.settle_sent}:
            raise Unavailable("This alone does not work.")

    frail.before = refuse
    async with stage.working(transport, frail):
        await eventually(lambda: transport.recipients)
        clock.advance(seconds=50)
        await eventually(lambda: _are_renewed(stage, clock))
        frail.before = lambda _: None
    assert set((await stage.states()).values()) == {"sent"}


async def test_a_long_line_of_what_is_skipped_holds_up_nobody(stage: Stage, clock: Clock) -> None:
    await stage.ask(*people(700))
    clock.advance(days=8)
    await stage.ask("new@example.org")
    assert [lease.email for lease in await stage.claim(limit=1)] == ["new@example.org"]
    states = list((await stage.states()).values())
    assert states.count("skipped") == 700
