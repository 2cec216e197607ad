from datetime import timedelta

import pytest

from app.domain.retry import Decision, Outcome, Try, Verdict, decide

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


def tried(attempts: int = 1, failures: int = 1, **values: timedelta | float) -> Try:
    age, jitter = values.get("age", timedelta()), values.get("jitter", 0.0)
    assert isinstance(age, timedelta)
    assert isinstance(jitter, float)
    return Try(attempts, failures, age, 4 * DAY, jitter)


@pytest.mark.parametrize("age", [timedelta(), 3 * DAY, 30 * DAY])
@pytest.mark.parametrize(
    ("outcome", "decision"),
    [
        (Outcome.SENT, Decision("sent")),
        (Outcome.REFUSED, Decision("failed", suppress=True)),
        (Outcome.BAD_MESSAGE, Decision("held")),
    ],
)
def test_some_outcomes_leave_nothing_to_decide(
    outcome: Outcome, decision: Decision, age: timedelta
) -> None:
    assert decide(Verdict(outcome), tried(age=age)) == decision


@pytest.mark.parametrize("outcome", [Outcome.RETRY_RECIPIENT, Outcome.UNKNOWN])
@pytest.mark.parametrize(
    ("attempts", "minutes"),
    [(0, 5), (1, 5), (2, 15), (3, 30), (4, 60), (5, 120), (6, 240), (7, 240), (99, 240)],
)
def test_one_recipient_is_tried_ever_more_slowly(
    outcome: Outcome, attempts: int, minutes: int
) -> None:
    decision = decide(Verdict(outcome), tried(attempts=attempts, failures=50))
    assert decision == Decision("waiting", delay=minutes * MINUTE)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 5), (2, 15), (3, 30), (4, 60), (5, 300), (99, 300)]
)
def test_everybody_waits_when_the_server_is_away(failures: int, seconds: int) -> None:
    pause = seconds * SECOND
    decision = decide(Verdict(Outcome.RETRY_TRANSPORT), tried(attempts=50, failures=failures))
    assert decision == Decision("waiting", delay=pause, pause=pause)


@pytest.mark.parametrize(("attempts", "minutes"), [(1, 15), (3, 30), (6, 240)])
def test_a_fault_of_ours_stops_everybody_and_blames_no_subscriber(
    attempts: int, minutes: int
) -> None:
    decision = decide(Verdict(Outcome.SENDER_FAULT), tried(attempts=attempts))
    assert decision == Decision("waiting", delay=minutes * MINUTE, pause=15 * MINUTE)


@pytest.mark.parametrize("outcome", [Outcome.RETRY_RECIPIENT, Outcome.RETRY_TRANSPORT])
def test_the_server_may_say_when_to_come_back(outcome: Outcome) -> None:
    verdict = Verdict(outcome, retry_after=7 * MINUTE)
    assert decide(verdict, tried(jitter=0.9)).delay == 7 * MINUTE


@pytest.mark.parametrize(
    ("outcome", "least"),
    [(Outcome.RETRY_RECIPIENT, 5 * MINUTE), (Outcome.RETRY_TRANSPORT, 5 * SECOND)],
)
def test_jitter_adds_up_to_a_fifth(outcome: Outcome, least: timedelta) -> None:
    assert decide(Verdict(outcome), tried(jitter=0.5)).delay == least * 1.1


@pytest.mark.parametrize(
    ("age", "state"), [(4 * DAY - SECOND, "waiting"), (4 * DAY, "failed"), (9 * DAY, "failed")]
)
@pytest.mark.parametrize("outcome", [Outcome.RETRY_RECIPIENT, Outcome.UNKNOWN])
def test_what_is_too_old_is_given_up_without_blaming_the_address(
    outcome: Outcome, age: timedelta, state: str
) -> None:
    decision = decide(Verdict(outcome), tried(age=age))
    assert (decision.state, decision.suppress) == (state, False)
    assert (decision.delay is None) == (state == "failed")


def test_a_message_that_an_outage_outlived_is_held_and_everybody_waits() -> None:
    decision = decide(Verdict(Outcome.RETRY_TRANSPORT), tried(age=4 * DAY))
    assert decision == Decision("held", delay=5 * SECOND, pause=5 * SECOND)


def test_a_fault_of_ours_never_loses_a_message() -> None:
    decision = decide(Verdict(Outcome.SENDER_FAULT), tried(age=4 * DAY))
    assert (decision.state, decision.pause) == ("held", 15 * MINUTE)


def test_every_outcome_is_decided() -> None:
    for outcome in Outcome:
        decision = decide(Verdict(outcome), tried())
        assert decision.suppress == (outcome is Outcome.REFUSED)
        assert (decision.delay is not None) == (decision.state == "waiting")


@pytest.mark.parametrize("outcome", [Outcome.RETRY_TRANSPORT, Outcome.RETRY_RECIPIENT])
def test_no_server_can_make_us_wait_for_ever(outcome: Outcome) -> None:
    asked = Verdict(outcome, "429", retry_after=365 * DAY)
    assert decide(asked, tried()).delay == timedelta(hours=4)
