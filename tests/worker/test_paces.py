import asyncio
from dataclasses import replace

import pytest

from app.db import tables
from app.domain import rate
from app.domain.rate import Rate
from app.services import outbox
from app.worker import deliver
from tests.conftest import Clock
from tests.worker.stage import Scripted, Stage, eventually, people

pytestmark = pytest.mark.anyio


def paced(stage: Stage, *rates: str, **domains: str) -> Stage:
    limits = {name.replace("_", "."): rate.parse(limit) for name, limit in domains.items()}
    whole = tuple(map(rate.parse, rates))
    return replace(stage, house=replace(stage.house, mail_rates=whole, domain_rates=limits))


async def due(stage: Stage) -> list[float]:
    """Return in how many seconds each waiting mail is due."""
    now = stage.house.clock()
    mails = [mail for mail in await stage.mails() if mail["state"] == "waiting"]
    return sorted((mail["due_at"] - now).total_seconds() for mail in mails)


async def test_no_claim_takes_more_than_the_rate_allows(stage: Stage, clock: Clock) -> None:
    slow = paced(stage, "20/s")
    await slow.ask(*people(12))
    assert len(await slow.claim()) == 5
    assert await slow.claim("other") == []
    clock.advance(seconds=0.1)
    assert len(await slow.claim("other")) == 2
    clock.advance(seconds=3600)
    assert len(await slow.claim()) == 5, "an hour of rest is not made up for at once"


async def test_of_several_rates_each_holds(stage: Stage, clock: Clock) -> None:
    slow = paced(stage, "5/s", "6/m")
    await slow.ask(*people(12))
    assert len(await slow.claim()) == 1
    clock.advance(seconds=9)
    assert await slow.claim() == []
    clock.advance(seconds=1)
    assert len(await slow.claim()) == 1


async def test_workers_at_the_same_time_share_one_rate(stage: Stage) -> None:
    slow = paced(stage, "28/s")
    await slow.ask(*people(40))
    hands = await asyncio.gather(*(slow.claim(name, limit=5) for name in "abcdefgh"))
    assert sum(map(len, hands)) == 7
    assert len({lease.id for hand in hands for lease in hand}) == 7


async def test_a_rate_for_one_domain_holds_up_nobody_else(stage: Stage, clock: Clock) -> None:
    slow = paced(stage, example_com="8/s")
    gmail = [f"reader{n}@EXAMPLE.com" for n in range(6)]
    await slow.ask(*gmail, *people(6))
    claimed = await slow.claim()
    domains = [lease.email.partition("@")[2].lower() for lease in claimed]
    assert (domains.count("example.com"), domains.count("example.org")) == (2, 6)
    assert await due(slow) == [0.125, 0.25, 0.375, 0.5]
    clock.advance(seconds=0.125)
    assert len(await slow.claim()) == 1
    clock.advance(seconds=0.375)
    assert len(await slow.claim()) == 2, "the burst is a quarter of a second's worth"


async def test_mail_put_off_for_its_domain_uses_up_nobody_elses_rate(stage: Stage) -> None:
    slow = paced(stage, "8/s", example_com="1/m")
    await slow.ask(*(f"reader{n}@example.com" for n in range(60)), *people(2))
    claimed = await slow.claim()
    domains = [lease.email.partition("@")[2] for lease in claimed]
    assert domains == ["example.com", "example.org"], "two are a quarter of a second's worth"
    untouched = [mail for mail in await slow.mails() if mail["email"] == "reader1@example.org"]
    assert [(mail["state"], mail["due_at"]) for mail in untouched] == [
        ("waiting", slow.house.clock())
    ]


async def test_a_claim_that_only_put_mail_off_is_followed_by_another_at_once(
    stage: Stage, transport: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_MOST", 4)
    monkeypatch.setattr(deliver, "IDLE_SECONDS", 600.0)
    slow = paced(stage, "8/s", example_com="1/m")
    await slow.ask(*(f"reader{n}@example.com" for n in range(60)), *people(1))
    async with slow.working(transport):
        await eventually(lambda: "reader0@example.org" in transport.recipients)


async def test_a_rate_for_an_internationalised_domain_holds(stage: Stage) -> None:
    slow = replace(stage, house=replace(stage.house, domain_rates={"müller.de": Rate(1, 60)}))
    await slow.ask(*(f"reader{n}@MÜLLER.de" for n in range(3)))
    assert len(await slow.claim()) == 1


async def test_a_server_that_stalls_does_not_get_what_the_rate_would_have_allowed_meanwhile(
    stage: Stage, transport: Scripted, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "IDLE_SECONDS", 0.01)
    slow = paced(stage, "40/s")
    await slow.ask(*people(60))
    transport.gate.clear()
    async with slow.working(transport):
        await eventually(lambda: len(transport.on_wire) == transport.connections)
        for _ in range(8):
            clock.advance(seconds=1)
            await asyncio.sleep(0.03)
        states = list((await slow.states()).values())
        assert states.count("leased") == 10, "one burst, however long it takes"
        transport.gate.set()
        await eventually(lambda: len(transport.tried) == 20)


async def test_what_is_put_off_is_not_tried_and_loses_nothing(stage: Stage) -> None:
    slow = paced(stage, example_org="1/h")
    await slow.ask(*people(2))
    [sent] = await slow.claim()
    [late] = [mail for mail in await slow.mails() if mail["id"] != sent.id]
    assert (late["state"], late["attempts"], late["expirations"]) == ("waiting", 0, 0)
    assert (late["leased_by"], late["lease_until"]) == (None, None)
    assert await due(slow) == [3600.0]


async def test_mail_that_is_skipped_uses_up_no_rate(stage: Stage) -> None:
    slow = paced(stage, "12/s", example_org="12/s")
    await slow.ask(*people(6))
    for email in people(3):
        await slow.leave(email)
    assert [lease.email for lease in await slow.claim()] == list(people(6)[3:])


async def test_a_changed_rate_begins_anew(stage: Stage) -> None:
    await stage.ask(*people(9))
    assert len(await paced(stage, "1/d").claim()) == 1
    assert await paced(stage, "1/d").claim() == []
    assert len(await paced(stage, "16/s").claim()) == 4


async def test_a_worker_comes_back_when_the_next_mail_may_leave(
    stage: Stage, transport: Scripted, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "IDLE_SECONDS", 600.0)
    slow = paced(stage, "80/s")
    await slow.ask(*people(25))
    async with slow.working(transport):
        await eventually(lambda: len(transport.tried) == 20)
        clock.advance(seconds=1)
        await eventually(lambda: len(transport.tried) == 25)


async def test_without_a_rate_nothing_is_kept(stage: Stage) -> None:
    await stage.ask(*people(3))
    await stage.claim()
    found = await stage.run(lambda c: c.execute(tables.mail_rates.select()).all())
    assert list(found) == []


async def test_a_clock_that_was_ahead_and_is_set_right_stops_no_mail(
    stage: Stage, clock: Clock
) -> None:
    slow = paced(stage, "40/s")
    await slow.ask(*people(60))
    clock.advance(days=1)
    assert len(await slow.claim()) == 10
    clock.advance(days=-1)
    await slow.ask(*(f"later{n}@example.org" for n in range(9)))
    assert await slow.claim() == []
    clock.advance(seconds=0.1)
    assert len(await slow.claim()) == 4


async def test_a_confirmation_does_not_wait_behind_all_that_was_put_off_for_its_domain(
    stage: Stage, clock: Clock
) -> None:
    slow = paced(stage, example_org="1/s")
    await slow.ask(*people(40))
    await slow.confirm(*people(40))
    assert len(await slow.claim()) == 1
    assert len(await due(slow)) == 39
    clock.advance(seconds=0.5)
    await slow.ask("new@example.org")
    assert await slow.claim() == []
    new = await slow.mail("new@example.org")
    assert (new["due_at"] - clock.now).total_seconds() <= 1
    clock.now = new["due_at"]
    assert [lease.email for lease in await slow.claim()] == ["new@example.org"]
