"""What every transport promises, told once and played on all of them."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.retry import Outcome, Verdict
from app.mail.compose import compose
from app.mail.message import Message
from tests.mail.letters import KINDS, LETTER, LETTERHEAD, UNSUBSCRIBE, bodies, with_changes
from tests.mail.stages import ALL, HTTP, REMOTE, Plot, Stage, stage

pytestmark = pytest.mark.anyio

GONE = "gone@example.net"
REFUSALS = {"smtp": Outcome.REFUSED, "postmark": Outcome.REFUSED}
"""SES and Mailgun take mail for any address, and tell of a bad one by a bounce."""


def letter(
    number: int = 1, recipient: str = "reader@example.net", kind: str = "confirm"
) -> Message:
    template = compose(kind, LETTERHEAD)
    return template.fill(replace(LETTER, id=number, recipient=recipient))


async def send_all(ready: Stage, mails: list[Message]) -> list[Verdict]:
    return list(await asyncio.gather(*map(ready.transport.send, mails)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ALL)
async def test_a_mail_arrives_as_it_was_composed(name: str, kind: str, tmp_path: Path) -> None:
    letterhead = with_changes({"from_name": 'Käse, "Brot" & Co', "name": "Ünïcode · " * 12})
    sent = compose(kind, letterhead).fill(LETTER)
    async with stage(name, tmp_path) as ready:
        verdict = await ready.transport.send(sent)
        [mail] = ready.arrived()
    assert verdict.outcome is Outcome.SENT
    assert mail.recipient == "Reader@Example.org"
    assert mail.headers["To"] == "Reader@Example.org"
    assert mail.headers["From"] == '"Käse, \\"Brot\\" & Co" <news@example.org>'
    assert "Ünïcode · Ünïcode ·" in mail.headers["Subject"]
    assert mail.headers["Message-ID"] == "<42.20261122213005123456@news.example.org>"
    assert (mail.text, mail.html) == bodies(sent.content)
    assert mail.source in {sent.content, None}


@pytest.mark.parametrize("name", ALL)
async def test_one_click_unsubscribing_arrives_unharmed(name: str, tmp_path: Path) -> None:
    assert len(UNSUBSCRIBE) >= 300
    async with stage(name, tmp_path) as ready:
        await ready.transport.send(letter())
        [mail] = ready.arrived()
    assert mail.headers["List-Unsubscribe"] == f"<{UNSUBSCRIBE}>"
    assert mail.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail.headers["List-Id"] == "<insights.news.example.org>"
    assert mail.headers["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize("name", HTTP)
async def test_a_provider_says_what_it_calls_the_mail(name: str, tmp_path: Path) -> None:
    async with stage(name, tmp_path) as ready:
        verdict = await ready.transport.send(letter())
    assert (verdict.provider_id or "").startswith("0102018f-000001")


@pytest.mark.parametrize("name", REMOTE)
async def test_a_refused_recipient_is_not_sent_to(name: str, tmp_path: Path) -> None:
    async with stage(name, tmp_path, Plot(refused=(GONE,))) as ready:
        verdict = await ready.transport.send(letter(recipient=GONE))
        assert ready.arrived() == []
    assert verdict.outcome is REFUSALS.get(name, Outcome.BAD_MESSAGE)
    assert "@" not in verdict.detail


@pytest.mark.parametrize("name", ALL)
async def test_nobody_there_means_later_for_everybody(name: str, tmp_path: Path) -> None:
    async with stage(name, tmp_path, Plot(away=True)) as ready:
        verdicts = await send_all(ready, [letter(number) for number in range(5)])
    assert {verdict.outcome for verdict in verdicts} == {Outcome.RETRY_TRANSPORT}
    assert not any("@" in verdict.detail for verdict in verdicts)


@pytest.mark.parametrize("name", REMOTE)
async def test_silence_after_the_mail_was_taken_is_unknown(name: str, tmp_path: Path) -> None:
    async with stage(name, tmp_path, Plot(lost=True)) as ready:
        verdicts = await send_all(ready, [letter(number) for number in range(5)])
        assert len(ready.arrived()) == 5
    assert {verdict.outcome for verdict in verdicts} == {Outcome.UNKNOWN}
    assert not any("@" in verdict.detail for verdict in verdicts)


@pytest.mark.parametrize("name", REMOTE)
async def test_of_many_at_once_each_gets_its_own_verdict(name: str, tmp_path: Path) -> None:
    refused = tuple(f"gone{number}@example.net" for number in range(0, 60, 7))
    recipients = [
        f"{'gone' if number % 7 == 0 else 'reader'}{number}@example.net" for number in range(60)
    ]
    async with stage(name, tmp_path, Plot(refused=refused)) as ready:
        verdicts = await send_all(ready, [letter(n, r) for n, r in enumerate(recipients)])
        arrived = [mail.recipient for mail in ready.arrived()]
    sent = [r for r, v in zip(recipients, verdicts, strict=True) if v.outcome is Outcome.SENT]
    assert sorted(arrived) == sorted(sent) == sorted(r for r in recipients if r not in refused)


@pytest.mark.parametrize("turns", [0, 1, 5, 50])
@pytest.mark.parametrize("name", ALL)
async def test_a_sender_who_goes_away_takes_nobody_along(
    name: str, turns: int, tmp_path: Path
) -> None:
    async with stage(name, tmp_path) as ready:
        mails = [letter(number, f"reader{number}@example.net") for number in range(12)]
        tasks = [asyncio.create_task(ready.transport.send(mail)) for mail in mails]
        for _ in range(turns):
            await asyncio.sleep(0)
        tasks[3].cancel()
        rest = tasks[:3] + tasks[4:]
        verdicts = await asyncio.gather(*rest)
        await asyncio.gather(tasks[3], return_exceptions=True)
        arrived = {mail.recipient for mail in ready.arrived()}
    assert {verdict.outcome for verdict in verdicts} == {Outcome.SENT}
    assert arrived >= {mail.recipient for mail in mails} - {"reader3@example.net"}


@pytest.mark.parametrize("name", ALL)
async def test_nothing_is_open_after_closing(name: str, tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with stage(name, tmp_path) as ready:
        await send_all(ready, [letter(number) for number in range(5)])
        await ready.transport.close()
        for _ in range(100):
            if not ready.open():
                break
            await asyncio.sleep(0.01)
        assert ready.open() == 0
        assert asyncio.all_tasks() == before


@pytest.mark.parametrize("name", REMOTE)
async def test_a_recipient_that_could_be_two_is_never_sent_to(name: str, tmp_path: Path) -> None:
    async with stage(name, tmp_path) as ready:
        for recipient in ("a@example.net\r\nBcc: b@example.net", "a@example.net>,<b@example.net"):
            verdict = await ready.transport.send(replace(letter(), recipient=recipient))
            assert verdict == Verdict(Outcome.BAD_MESSAGE, "UnsafeMessage")
        assert ready.arrived() == []


@pytest.mark.parametrize("name", ALL)
async def test_a_second_attempt_carries_the_same_message_id(name: str, tmp_path: Path) -> None:
    async with stage(name, tmp_path) as ready:
        for _ in range(2):
            assert (await ready.transport.send(letter(7))).outcome is Outcome.SENT
        identifiers = {mail.headers["Message-ID"] for mail in ready.arrived()}
    assert identifiers == {"<7.20261122213005123456@news.example.org>"}
