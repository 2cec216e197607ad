import asyncio
from dataclasses import dataclass, field

import pytest

from app.domain.retry import Outcome, Verdict
from app.mail.message import Message
from app.mail.runs import Mails
from tests.worker.stage import Scripted, Stage, eventually, people

pytestmark = pytest.mark.anyio


@dataclass
class Carrying(Scripted):
    """A transport that announces a message behind the one that it sends."""

    runs: list[list[Message]] = field(default_factory=list)
    defect: Exception | None = None

    async def carry(self, mails: Mails) -> None:
        run: list[Message] = []
        self.runs.append(run)
        message = mails.next()
        while message is not None:
            run.append(message)
            following = mails.next(ahead=True)
            await self.gate.wait()
            await asyncio.sleep(0)
            if self.defect is not None:
                raise self.defect
            mails.answer(message, Verdict(Outcome.SENT))
            message = following or mails.next()


async def test_messages_go_one_behind_another(stage: Stage) -> None:
    transport = Carrying(connections=2)
    await stage.ask(*people(120))
    async with stage.working(transport):
        await eventually(lambda: sum(map(len, transport.runs)) == 120)
    assert set((await stage.states()).values()) == {"sent"}
    assert max(map(len, transport.runs)) > 10
    ids = [message.id for run in transport.runs for message in run]
    assert len(set(ids)) == 120


async def test_nothing_waits_behind_a_message_while_a_sender_is_free(stage: Stage) -> None:
    transport = Carrying(connections=3)
    transport.gate.clear()
    await stage.ask(*people(3))
    async with stage.working(transport):
        await eventually(lambda: sum(map(len, transport.runs)) == 3)
        assert [len(run) for run in transport.runs] == [1, 1, 1]
        transport.gate.set()
    assert set((await stage.states()).values()) == {"sent"}


async def test_a_defect_leaves_in_doubt_all_that_was_taken(stage: Stage) -> None:
    transport = Carrying(connections=1, defect=RuntimeError("a defect"))
    transport.gate.clear()
    await stage.ask(*people(2))
    async with stage.working(transport):
        await eventually(lambda: stage.are_leased(2) if transport.runs else False)
        transport.gate.set()
        await eventually(lambda: stage.are_leased(0))
    outcomes = {mail["outcome"] for mail in await stage.mails()}
    assert outcomes == {"unknown RuntimeError"}
