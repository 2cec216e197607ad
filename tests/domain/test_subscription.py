import pytest

from app.domain.subscription import (
    BLOCKING,
    Change,
    Event,
    Kind,
    Mail,
    Reason,
    Status,
    next_generation,
    step,
)

# Every row and column of the contract, also the pairs that do nothing:
# status, event -> status after, consent event, mail, suppression
TABLE = """
none          sign_up      pending       requested  confirm             -
none          confirm      none          -          -                   -
none          unsubscribe  none          -          -                   -
none          undo         none          -          -                   -
none          join         confirmed     confirmed  welcome             -
none          erase        none          -          -                   -
none          complaint    none          -          -                   complaint
none          hard_bounce  none          -          -                   hard_bounce
none          import       confirmed     imported   -                   -
none          expire       none          -          -                   -
pending       sign_up      pending       requested  confirm             -
pending       confirm      confirmed     confirmed  welcome             -
pending       unsubscribe  unsubscribed  withdrawn  -                   -
pending       undo         pending       -          -                   -
pending       join         confirmed     confirmed  welcome             -
pending       erase        none          erased     -                   erased
pending       complaint    unsubscribed  withdrawn  -                   complaint
pending       hard_bounce  pending       -          -                   hard_bounce
pending       import       confirmed     imported   -                   -
pending       expire       none          expired    -                   -
confirmed     sign_up      confirmed     -          already_subscribed  -
confirmed     confirm      confirmed     -          -                   -
confirmed     unsubscribe  unsubscribed  withdrawn  -                   -
confirmed     undo         confirmed     -          -                   -
confirmed     join         confirmed     -          -                   -
confirmed     erase        none          erased     -                   erased
confirmed     complaint    unsubscribed  withdrawn  -                   complaint
confirmed     hard_bounce  confirmed     -          -                   hard_bounce
confirmed     import       confirmed     -          -                   -
confirmed     expire       confirmed     -          -                   -
unsubscribed  sign_up      pending       requested  confirm             -
unsubscribed  confirm      unsubscribed  -          -                   -
unsubscribed  unsubscribe  unsubscribed  -          -                   -
unsubscribed  undo         confirmed     confirmed  -                   -
unsubscribed  join         confirmed     confirmed  welcome             -
unsubscribed  erase        none          erased     -                   erased
unsubscribed  complaint    unsubscribed  -          -                   complaint
unsubscribed  hard_bounce  unsubscribed  -          -                   hard_bounce
unsubscribed  import       unsubscribed  -          -                   -
unsubscribed  expire       unsubscribed  -          -                   -
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]
STATUSES: dict[str, Status | None] = {"none": None, **{status.value: status for status in Status}}


def test_the_table_names_every_pair() -> None:
    pairs = {(row[0], row[1]) for row in ROWS}
    assert pairs == {(status, event) for status in STATUSES for event in Event}
    assert len(ROWS) == len(pairs)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_an_event_does_what_the_table_says(row: list[str]) -> None:
    status, event, after, *rest = row
    kind, mail, reason = (None if word == "-" else word for word in rest)
    assert step(STATUSES[status], Event(event)) == Change(
        STATUSES[after],
        None if kind is None else Kind(kind),
        None if mail is None else Mail(mail),
        None if reason is None else Reason(reason),
    )


@pytest.mark.parametrize("status", STATUSES.values())
@pytest.mark.parametrize("event", Event)
def test_only_expiry_asks_whether_it_was_ever_confirmed(
    status: Status | None, event: Event
) -> None:
    found = step(status, event, ever_confirmed=True)
    if status is Status.PENDING and event is Event.EXPIRE:
        assert found == Change(Status.UNSUBSCRIBED, Kind.EXPIRED)
    else:
        assert found == step(status, event)


@pytest.mark.parametrize("before", STATUSES.values())
@pytest.mark.parametrize("after", STATUSES.values())
def test_the_generation_rises_only_when_a_subscription_becomes_pending(
    before: Status | None, after: Status | None
) -> None:
    rises = after is Status.PENDING and before is not Status.PENDING
    assert next_generation(7, before, after) == (8 if rises else 7)


def test_erasure_is_no_reason_to_refuse_a_person_who_comes_back() -> None:
    assert set(Reason) - BLOCKING == {Reason.ERASED}
