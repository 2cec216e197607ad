import asyncio
from datetime import timedelta

import pytest

from app.db.leases import Lease
from app.domain.retry import Outcome, Verdict
from app.services import outbox
from app.services.outbox import Tried
from tests.conftest import Clock
from tests.worker.stage import Scripted, Stage, eventually, people

pytestmark = pytest.mark.anyio

AWAY = Verdict(Outcome.RETRY_TRANSPORT, "421")
FAULT = Verdict(Outcome.SENDER_FAULT, "535 5.7.8")


async def test_a_server_that_is_away_pauses_everybody_and_no_lease_is_kept(
    stage: Stage, transport: Scripted, clock: Clock
) -> None:
    transport.connections = 1
    transport.script = {email: [AWAY] for email in people(9)}
    transport.pace = 0.04
    await stage.ask(*people(9))
    async with stage.working(transport):
        await eventually(stage.pause)
        await eventually(lambda: stage.are_leased(0))
    pause = await stage.pause()
    assert pause["reason"] == "retry_transport 421"
    assert 5 <= (pause["paused_until"] - clock.now).total_seconds() < 6
    assert await stage.claim("other") == []
    assert set((await stage.states()).values()) == {"waiting"}
    attempts = sum(mail["attempts"] for mail in await stage.mails())
    assert attempts == len(transport.tried)


async def _rest(stage: Stage, verdict: Verdict = AWAY) -> Scripted:
    """Let one mail fail; return the transport it failed on."""
    transport = Scripted()
    transport.script["first@example.org"] = [verdict]
    await stage.ask("first@example.org")
    await stage.deliver(transport)
    assert transport.recipients == ["first@example.org"]
    return transport


async def test_nothing_is_tried_before_the_pause_is_over(stage: Stage, clock: Clock) -> None:
    transport = await _rest(stage)
    await stage.ask(*people(3))
    until = (await stage.pause())["paused_until"]
    clock.now = until - timedelta(microseconds=1)
    await stage.deliver(transport)
    assert len(transport.tried) == 1


async def test_after_the_pause_one_mail_probes_for_all_workers_and_success_resumes(
    stage: Stage, clock: Clock
) -> None:
    transport = await _rest(stage)
    await stage.ask(*people(6))
    clock.now = (await stage.pause())["paused_until"]
    transport.gate.clear()
    async with stage.working(transport, name="a"), stage.working(transport, name="b"):
        await eventually(lambda: transport.on_wire)
        assert await stage.claim("c") == []
        await asyncio.sleep(0.3)  # long enough for both to claim again
        assert len(transport.on_wire) == 1
        transport.gate.set()
        await eventually(lambda: len(transport.tried) == 8)
    assert set((await stage.states()).values()) == {"sent"}
    assert (await stage.pause())["reason"] is None


async def test_each_probe_that_fails_makes_the_pause_longer(stage: Stage, clock: Clock) -> None:
    transport = await _rest(stage)
    transport.script["first@example.org"] = [AWAY] * 5
    began = (await stage.pause())["since"]
    for number, seconds in enumerate((15, 30, 60, 300, 300), 2):
        clock.now = (await stage.pause())["paused_until"]
        await stage.deliver(transport)
        pause = await stage.pause()
        assert len(transport.tried) == number
        assert seconds <= (pause["paused_until"] - clock.now).total_seconds() < seconds * 1.2
        assert (pause["failures"], pause["since"]) == (number, began)


async def test_what_was_on_the_wire_when_the_pause_began_does_not_make_it_longer(
    stage: Stage, clock: Clock
) -> None:
    await stage.ask(*people(4))
    leases = await stage.claim()
    for lease in leases:
        await stage.settle(lease, Outcome.RETRY_TRANSPORT)
    pause = await stage.pause()
    assert pause["failures"] == 1
    assert (pause["paused_until"] - clock.now).total_seconds() < 6


async def test_a_probe_that_only_its_recipient_refuses_is_followed_by_the_next_at_once(
    stage: Stage, clock: Clock
) -> None:
    transport = await _rest(stage)
    clock.advance(seconds=1)
    await stage.ask(*people(2))
    transport.script["first@example.org"] = [Verdict(Outcome.RETRY_RECIPIENT, "450")]
    clock.now = (await stage.pause())["paused_until"]
    await stage.deliver(transport)
    assert sorted(transport.recipients[1:]) == ["first@example.org", *people(2)]
    assert (await stage.pause())["reason"] is None


async def test_a_probe_whose_worker_died_is_followed_by_another_after_its_lease(
    stage: Stage, clock: Clock
) -> None:
    await _rest(stage)
    clock.now = (await stage.pause())["paused_until"]
    assert len(await stage.claim("dying")) == 1
    clock.advance(seconds=59)
    assert await stage.claim("other") == []
    clock.advance(seconds=1)
    assert len(await stage.claim("other")) == 1


async def test_a_fault_of_the_sender_pauses_and_blames_no_subscriber(
    stage: Stage, clock: Clock
) -> None:
    transport = await _rest(stage, FAULT)
    pause = await stage.pause()
    assert pause["reason"] == "sender_fault 535 5.7.8"
    assert pause["paused_until"] - clock.now == timedelta(minutes=15)
    assert await stage.states() == {"first@example.org": "waiting"}
    clock.advance(minutes=15)
    await stage.deliver(transport)
    assert await stage.states() == {"first@example.org": "sent"}
    assert (await stage.pause())["failures"] == 0


async def test_retry_after_is_honoured_to_the_second(stage: Stage, clock: Clock) -> None:
    slow_down = Verdict(Outcome.RETRY_TRANSPORT, "429", retry_after=timedelta(seconds=77))
    transport = await _rest(stage, slow_down)
    mail = await stage.mail("first@example.org")
    until = clock.now + timedelta(seconds=77)
    assert (mail["due_at"], (await stage.pause())["paused_until"]) == (until, until)
    clock.advance(seconds=76)
    await stage.deliver(transport)
    assert len(transport.tried) == 1


async def test_retry_after_for_one_recipient_holds_up_only_that_one(
    stage: Stage, transport: Scripted, clock: Clock
) -> None:
    later = Verdict(Outcome.RETRY_RECIPIENT, "451", retry_after=timedelta(seconds=77))
    transport.script["ann@example.org"] = [later]
    await stage.ask("ann@example.org", "bob@example.org")
    await stage.deliver(transport)
    assert (await stage.mail("ann@example.org"))["due_at"] == clock.now + timedelta(seconds=77)
    assert await stage.states() == {"ann@example.org": "waiting", "bob@example.org": "sent"}
    assert await stage.pause() == {}


async def test_one_acceptance_among_failures_keeps_the_mail_flowing(
    stage: Stage, transport: Scripted
) -> None:
    transport.script["ann@example.org"] = [AWAY]
    transport.gate.clear()
    await stage.ask("ann@example.org", "bob@example.org", "cid@example.org")
    async with stage.working(transport):
        await eventually(lambda: len(transport.on_wire) == 2)
        transport.gate.set()
        await eventually(lambda: "cid@example.org" in transport.recipients)
    assert (await stage.states())["bob@example.org"] == "sent"


async def test_mail_that_is_skipped_does_not_use_up_the_probe(stage: Stage, clock: Clock) -> None:
    transport = await _rest(stage)
    await stage.ask(*people(6), "last@example.org")
    for email in people(6):
        await stage.leave(email)
    clock.now = (await stage.pause())["paused_until"]
    [probe] = await stage.claim()
    assert probe.email == "last@example.org"
    assert transport.recipients == ["first@example.org"]


@pytest.mark.parametrize(
    "long", [FAULT, Verdict(Outcome.RETRY_TRANSPORT, "429", retry_after=timedelta(hours=1))]
)
async def test_what_was_on_the_wire_does_not_end_a_longer_rest(
    stage: Stage, clock: Clock, long: Verdict
) -> None:
    await stage.ask(*people(3))
    first, second, _ = await stage.claim()
    await _settle(stage, first, long)
    rest = await stage.pause()
    clock.advance(seconds=1)
    await _settle(stage, second, AWAY)
    assert await stage.pause() == rest
    clock.advance(seconds=10)
    assert await stage.claim() == []


async def test_only_a_probe_ends_a_rest_and_who_asks_to_wait_is_heard_among_others(
    stage: Stage, clock: Clock
) -> None:
    await stage.ask(*people(4))
    first, second, third, _ = await stage.claim()
    wait = Verdict(Outcome.RETRY_TRANSPORT, "429", retry_after=timedelta(hours=1))
    mixed = [Tried(first, wait), Tried(second, Verdict(Outcome.SENT))]
    await stage.engine.write(outbox.settle, stage.house, "scripted", mixed)
    rest = await stage.pause()
    assert rest["paused_until"] == clock.now + timedelta(hours=1)
    await _settle(stage, third, Verdict(Outcome.SENT))
    assert await stage.pause() == rest
    assert await stage.claim() == []


async def _settle(stage: Stage, lease: Lease, verdict: Verdict) -> None:
    tried = [Tried(lease, verdict)]
    await stage.engine.write(outbox.settle, stage.house, "scripted", tried)
