import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from app.domain.retry import Outcome, Verdict
from app.mail.providers.batches import Batches

pytestmark = pytest.mark.anyio


class Counter:
    """A call that keeps its batches, and answers each item with its own number."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.under_way = self.most = 0
        self.error: Exception | None = None

    async def deliver(self, items: Sequence[int]) -> AsyncIterator[Verdict]:
        self.batches.append(list(items))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        if self.error:
            raise self.error
        for item in items:
            yield Verdict(Outcome.SENT, str(item))


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def send_all(batches: Batches[int], numbers: range) -> list[asyncio.Task[Verdict]]:
    return [asyncio.create_task(batches.send(number)) for number in numbers]


async def test_a_lone_item_leaves_at_once() -> None:
    counter = Counter()
    task = asyncio.create_task(Batches(counter.deliver, 100, 2).send(1))
    await turns(6)
    assert counter.batches == [[1]]
    counter.gate.set()
    assert await task == Verdict(Outcome.SENT, "1")


async def test_what_arrives_together_leaves_together() -> None:
    counter = Counter()
    counter.gate.set()
    verdicts = await asyncio.gather(*send_all(Batches(counter.deliver, 100, 5), range(60)))
    assert counter.batches == [list(range(60))]
    assert [verdict.detail for verdict in verdicts] == [str(number) for number in range(60)]


async def test_those_who_step_up_one_after_another_share_a_batch() -> None:
    counter = Counter()
    counter.gate.set()
    batches, more = Batches(counter.deliver, 100, 5), asyncio.Condition()
    work: list[int] = []

    async def take_one() -> None:  # as the senders of a worker do
        async with more:
            await more.wait_for(lambda: bool(work))
            number = work.pop()
        await batches.send(number)

    senders = [asyncio.create_task(take_one()) for _ in range(30)]
    await turns()
    async with more:
        work += range(30)
        more.notify_all()
    await asyncio.gather(*senders)
    assert [len(batch) for batch in counter.batches] == [30]


async def test_what_arrives_meanwhile_is_the_next_batch() -> None:
    counter = Counter()
    batches = Batches(counter.deliver, 100, 1)
    tasks = send_all(batches, range(1))
    await turns()
    tasks += send_all(batches, range(1, 10))
    await turns()
    assert counter.batches == [[0]]
    counter.gate.set()
    await asyncio.gather(*tasks)
    assert counter.batches == [[0], list(range(1, 10))]


async def test_no_batch_is_too_large_and_not_too_many_are_under_way() -> None:
    counter = Counter()
    tasks = send_all(Batches(counter.deliver, 10, 3), range(75))
    await turns()
    assert [len(batch) for batch in counter.batches] == [10, 10, 10]
    counter.gate.set()
    await asyncio.gather(*tasks)
    assert [len(batch) for batch in counter.batches] == [10] * 7 + [5]
    assert counter.most == 3


async def test_who_leaves_the_line_is_not_sent() -> None:
    counter = Counter()
    batches = Batches(counter.deliver, 100, 1)
    tasks = send_all(batches, range(1))
    await turns()
    tasks += send_all(batches, range(1, 5))
    await turns()
    tasks[2].cancel()
    await turns()
    counter.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[2], asyncio.CancelledError)
    assert counter.batches == [[0], [1, 3, 4]]


async def test_who_leaves_a_batch_under_way_takes_nobody_along() -> None:
    counter = Counter()
    tasks = send_all(Batches(counter.deliver, 100, 1), range(5))
    await turns()
    tasks[0].cancel()
    await turns()
    counter.gate.set()
    results = await asyncio.gather(*tasks[1:])
    assert [result.detail for result in results] == ["1", "2", "3", "4"]


async def test_a_line_that_everybody_left_is_no_batch() -> None:
    counter = Counter()
    counter.gate.set()
    batches = Batches(counter.deliver, 100, 1)
    for task in send_all(batches, range(3)):
        await asyncio.sleep(0)
        task.cancel()
    await turns()
    assert await batches.send(9) == Verdict(Outcome.SENT, "9")
    assert [9] in counter.batches
    assert [] not in counter.batches


async def test_a_defect_leaves_nobody_waiting() -> None:
    counter = Counter()
    counter.gate.set()
    counter.error = KeyError("a@example.org")
    batches = Batches(counter.deliver, 100, 1)
    verdicts = await asyncio.gather(*send_all(batches, range(3)))
    assert set(verdicts) == {Verdict(Outcome.UNKNOWN, "KeyError")}
    counter.error = None
    assert (await batches.send(4)).outcome is Outcome.SENT


async def test_closing_tells_what_was_under_way_from_what_was_not() -> None:
    counter = Counter()
    batches = Batches(counter.deliver, 2, 1)
    tasks = send_all(batches, range(3))
    await turns()
    await batches.close()
    outcomes = [(await task).outcome for task in tasks]
    assert outcomes == [Outcome.UNKNOWN, Outcome.UNKNOWN, Outcome.RETRY_TRANSPORT]
    assert counter.under_way == 0


async def test_many_rounds_lose_nobody() -> None:
    counter = Counter()
    counter.gate.set()
    batches = Batches(counter.deliver, 4, 2)

    async def keep_sending(number: int) -> None:
        for step in range(50):
            detail = str(number * 1000 + step)
            assert (await batches.send(int(detail))).detail == detail
            await turns(number % 4)

    await asyncio.wait_for(asyncio.gather(*map(keep_sending, range(10))), 30)
    assert sum(map(len, counter.batches)) == 500


async def test_a_verdict_is_passed_on_while_the_rest_of_its_batch_is_under_way() -> None:
    gate = asyncio.Event()

    async def slowly(items: Sequence[int]) -> AsyncIterator[Verdict]:
        for item in items:
            yield Verdict(Outcome.SENT, str(item))
            await gate.wait()

    batches = Batches(slowly, 100, 1)
    first, *others = send_all(batches, range(3))
    assert (await first).detail == "0"
    assert not any(task.done() for task in others)
    await batches.close()
    assert {(await task).outcome for task in others} == {Outcome.UNKNOWN}
