from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import rate
from app.domain.rate import Rate

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
RATES = st.builds(Rate, st.integers(1, 1_000), st.sampled_from([1, 60, 3_600, 86_400]))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("14/s", Rate(14, 1)),
        (" 500/m ", Rate(500, 60)),
        ("1000/h", Rate(1000, 3600)),
        ("50000/d", Rate(50000, 86400)),
    ],
)
def test_a_rate_is_read_and_written(written: str, read: Rate) -> None:
    assert rate.parse(written) == read
    assert str(read) == written.strip()


@pytest.mark.parametrize(
    "value", ["", "14", "0/s", "-1/s", "1.5/s", "14/y", "14 / s", "٣/s", "1/ss"]
)
def test_what_is_no_rate_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="14/s"):
        rate.parse(value)


def test_a_quarter_second_of_a_fast_rate_and_one_mail_of_a_slow_one_may_leave_at_once() -> None:
    assert rate.full(Rate(14, 1), NOW).whole == 3
    assert rate.full(Rate(1, 86_400), NOW).whole == 1


def test_tokens_come_back_evenly_and_never_more_than_the_burst() -> None:
    limit = Rate(60, 60)
    bucket = rate.full(limit, NOW).take(1)
    assert bucket.whole == 0
    assert bucket.wait(limit) == 1
    assert bucket.refill(limit, NOW + timedelta(seconds=0.9)).whole == 0
    assert bucket.refill(limit, NOW + timedelta(seconds=1)).whole == 1
    assert bucket.refill(limit, NOW + timedelta(days=9)).whole == 1


def test_it_is_worth_asking_again_when_half_a_burst_is_there() -> None:
    limit = Rate(400, 1)
    bucket = rate.full(limit, NOW).take(100)
    assert bucket.wait(limit) == 50 / 400
    assert bucket.refill(limit, NOW + timedelta(seconds=0.125)).whole == 50


def test_a_clock_that_goes_back_gives_nothing_twice() -> None:
    limit = Rate(10, 1)
    bucket = rate.full(limit, NOW).take(2)
    then = NOW - timedelta(hours=1)
    back = bucket.refill(limit, then)
    assert (back.whole, back.refilled_at, back.booked_until) == (0, then, then)
    assert back.refill(limit, then + timedelta(seconds=0.2)).whole == 2


def test_mails_that_are_put_off_come_one_behind_another() -> None:
    limit = Rate(2, 1)
    bucket = rate.full(limit, NOW)
    times = []
    for _ in range(3):
        bucket = bucket.book(limit, NOW)
        times.append((bucket.booked_until - NOW).total_seconds())
    assert times == [0.5, 1.0, 1.5]
    later = NOW + timedelta(hours=1)
    assert bucket.book(limit, later).booked_until == later + timedelta(seconds=0.5)


@given(RATES, st.lists(st.tuples(st.floats(0, 30), st.integers(0, 50)), max_size=60))
def test_no_span_of_time_has_more_than_its_share_and_one_burst(
    limit: Rate, wishes: list[tuple[float, int]]
) -> None:
    now, bucket = NOW, rate.full(limit, NOW)
    sent: list[tuple[datetime, int]] = []
    for pause, wish in wishes:
        now += timedelta(seconds=pause)
        bucket = bucket.refill(limit, now)
        count = min(wish, bucket.whole)
        bucket = bucket.take(count)
        sent.append((now, count))
    for index, (begin, _) in enumerate(sent):
        for end, _ in sent[index:]:
            inside = sum(count for at, count in sent if begin <= at <= end)
            share = (end - begin).total_seconds() * limit.per_second
            assert inside <= share + limit.burst + 1e-6
