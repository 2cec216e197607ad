import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.budget import Budget, keyed_hash, may_mail, spend
from app.domain.subscription import Mail

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
COOLDOWN = timedelta(minutes=15)
DAY = timedelta(days=1)
ASK, REMIND = Mail.CONFIRM, Mail.ALREADY_SUBSCRIBED


class Letterbox:
    """One address with its newsletters; `asks` tells whether the mail was sent."""

    def __init__(self) -> None:
        self.whole = Budget("h", "")
        self.own: dict[str, Budget] = {}

    def asks(
        self, after: timedelta, mail: Mail = ASK, slug: str = "a", answered: timedelta | None = None
    ) -> bool:
        own = self.own.setdefault(slug, Budget("h", slug))
        own.answer(None if answered is None else START + answered)
        if may_mail(own, self.whole, mail, START + after, COOLDOWN):
            spend(own, self.whole, mail, START + after)
            return True
        return False


@pytest.fixture
def box() -> Letterbox:
    return Letterbox()


@pytest.mark.parametrize(
    ("after", "sent"),
    [(timedelta(), False), (COOLDOWN - timedelta(microseconds=1), False), (COOLDOWN, True)],
)
def test_a_second_mail_waits_for_the_cool_down(
    box: Letterbox, after: timedelta, *, sent: bool
) -> None:
    assert box.asks(timedelta())
    assert box.asks(after) is sent


def test_the_cool_down_of_one_newsletter_is_not_that_of_another(box: Letterbox) -> None:
    assert box.asks(timedelta(), slug="a")
    assert box.asks(timedelta(), slug="b")


def test_three_mails_that_nobody_answers_are_enough_for_thirty_days(box: Letterbox) -> None:
    assert [box.asks(DAY * n) for n in range(6)] == [True] * 3 + [False] * 3
    assert not box.asks(30 * DAY - timedelta(microseconds=1))
    assert [box.asks(30 * DAY + DAY * n) for n in range(4)] == [True] * 3 + [False]


def test_an_answer_gives_the_three_back(box: Letterbox) -> None:
    assert all(box.asks(DAY * n) for n in range(3))
    assert not box.asks(DAY * 3, answered=DAY)  # before the last mail: an answer to another
    assert box.asks(DAY * 4, answered=DAY * 2)
    assert [box.asks(DAY * n, answered=DAY * 2) for n in (5, 6, 7)] == [True, True, False]


def test_an_answer_does_not_end_the_cool_down(box: Letterbox) -> None:
    assert box.asks(timedelta())
    assert not box.asks(COOLDOWN / 2, answered=COOLDOWN / 3)


def test_ten_mails_of_all_newsletters_are_enough_for_thirty_days(box: Letterbox) -> None:
    sent = [box.asks(DAY * n, slug=f"newsletter-{n}") for n in range(12)]
    assert sent == [True] * 10 + [False] * 2
    assert not box.asks(29 * DAY, slug="one more")
    assert box.asks(30 * DAY, slug="one more")


def test_answers_do_not_give_back_the_ten(box: Letterbox) -> None:
    assert all(box.asks(DAY * n, answered=DAY * (n - 1)) for n in range(10))
    assert not box.asks(DAY * 11, answered=DAY * 10)


def test_a_refused_mail_costs_nothing(box: Letterbox) -> None:
    assert box.asks(timedelta())
    assert not any(box.asks(timedelta(minutes=n)) for n in range(15))
    assert box.asks(COOLDOWN)
    assert box.whole.count == 2


def test_already_subscribed_goes_out_once_a_day(box: Letterbox) -> None:
    assert box.asks(timedelta(), REMIND)
    assert not box.asks(DAY - timedelta(microseconds=1), REMIND)
    assert box.asks(DAY, REMIND)


def test_a_reminder_does_not_stop_a_confirmation(box: Letterbox) -> None:
    assert box.asks(timedelta(), REMIND)
    assert box.asks(COOLDOWN, ASK)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60 * 24 * 9), st.sampled_from("abcde")), max_size=80))
def test_no_sequence_of_requests_causes_more(steps: list[tuple[int, str]]) -> None:
    box, minute = Letterbox(), 0
    sent: list[tuple[int, str]] = []
    for wait, slug in steps:
        minute += wait
        if box.asks(timedelta(minutes=minute), slug=slug):
            sent.append((minute, slug))
    for slug in "abcde":
        own = [minute for minute, newsletter in sent if newsletter == slug]
        assert all(later - earlier >= 15 for earlier, later in pairwise(own))
    # Windows begin with a mail and do not slide: two of them can lie within any 30 days.
    window = 60 * 24 * 30
    for first, _ in sent:
        assert sum(first <= minute < first + window for minute, _ in sent) <= 20


def test_a_keyed_hash_is_an_hmac_of_purpose_and_value() -> None:
    expected = hmac.new(b"key", b"budget:ann@example.org", hashlib.sha256).hexdigest()
    assert keyed_hash(b"key", "budget", "ann@example.org") == expected
    assert keyed_hash(b"key", "address", "ann@example.org") != expected
    assert keyed_hash(b"other", "budget", "ann@example.org") != expected
