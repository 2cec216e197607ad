"""What is told of our mail: counted once, about mail that we sent, in whatever order."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete
from sqlalchemy.engine import Connection

from app.db import tables
from app.domain.feedback import Happened
from app.services import suppressions
from tests.conftest import Clock
from tests.services.letters import bounced_softly, mailed, receive, told
from tests.services.people import ANN, Door, sign_up

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]

BEN = "ben@example.org"
HARD, SOFT, COMPLAINT = Happened.HARD_BOUNCE, Happened.SOFT_BOUNCE, Happened.COMPLAINT
GONE, DELIVERED = Happened.UNSUBSCRIBED, Happened.DELIVERED


async def kept(door: Door) -> list[tuple[str, int | None]]:
    events = await door.rows(tables.feedback_events, tables.feedback_events.c.at)
    return [(event["kind"], event["outbox_id"]) for event in events]


@pytest.mark.parametrize(
    ("kind", "status", "reasons"),
    [
        (HARD, "confirmed", ["hard_bounce"]),
        (COMPLAINT, "unsubscribed", ["complaint"]),
        (GONE, "unsubscribed", []),
        (SOFT, "confirmed", []),
        (DELIVERED, "confirmed", []),
        (Happened.FAILED, "confirmed", []),
        (Happened.REJECTED, "confirmed", []),
        (Happened.DEFERRED, "confirmed", []),
        (Happened.UNKNOWN, "confirmed", []),
    ],
)
async def test_an_event_has_its_consequence_and_no_other(
    door: Door, clock: Clock, kind: Happened, status: str, reasons: list[str]
) -> None:
    await door.bring("confirmed")
    mail = await mailed(door)
    assert await receive(door, told(kind, clock.now, mail, recipient="ANN@example.org")) == 1
    assert (await door.status(), await door.reasons()) == (status, reasons)
    assert await kept(door) == [(kind, mail)]
    sent = next(row for row in await door.rows(tables.outbox) if row["id"] == mail)
    assert sent["state"] == "sent"


@pytest.mark.parametrize(("kind", "method"), [(COMPLAINT, "complaint"), (GONE, "api")])
async def test_the_record_says_how_somebody_left(
    door: Door, clock: Clock, kind: Happened, method: str
) -> None:
    await door.bring("confirmed")
    await receive(door, told(kind, clock.now, await mailed(door)))
    event = (await door.events())[-1]
    assert (event["kind"], event["method"]) == ("withdrawn", method)
    assert (await door.verify()).broken is None


async def test_the_same_event_counts_once_in_one_call_and_in_two(door: Door, clock: Clock) -> None:
    await door.bring("confirmed")
    event = told(COMPLAINT, clock.now, await mailed(door))
    assert await receive(door, event, event) == 1
    assert await receive(door, event) == 0
    assert await door.kinds() == ["requested", "confirmed", "withdrawn"]
    assert len(await kept(door)) == 1


async def test_the_same_id_at_two_providers_is_two_events(door: Door, clock: Clock) -> None:
    await door.bring("confirmed")
    mail = await mailed(door)
    events = [told(DELIVERED, clock.now, mail, event_id="7", provider=name) for name in "ab"]
    assert await receive(door, *events) == 2


async def test_a_second_complaint_and_one_after_leaving_add_nothing(
    door: Door, clock: Clock
) -> None:
    await door.bring("unsubscribed")
    mail = await mailed(door)
    for _ in range(2):
        await receive(door, told(COMPLAINT, clock.now, mail))
    assert await door.kinds() == ["requested", "confirmed", "withdrawn"]
    assert await door.reasons() == ["complaint"]


@pytest.mark.parametrize(
    "values",
    [
        {"state": "leased", "attempts": 0, "provider_id": None},
        {"state": "waiting", "attempts": 1},
        {"state": "waiting", "attempts": 0, "expirations": 1},
        {"state": "held", "attempts": 3},
        {"state": "failed", "attempts": 9},
    ],
)
async def test_an_event_may_overtake_the_settling_of_its_mail(
    door: Door, clock: Clock, values: dict[str, Any]
) -> None:
    await door.bring("confirmed")
    mail = await mailed(door, **values)
    await receive(door, told(HARD, clock.now, mail, provider_id="p-1"))
    assert await door.reasons() == ["hard_bounce"]


@pytest.mark.parametrize("state", ["waiting", "skipped", "cancelled", "held"])
async def test_mail_that_was_never_tried_cannot_bounce(
    door: Door, clock: Clock, state: str
) -> None:
    await door.bring("confirmed")
    mail = await mailed(door, state=state, attempts=0)
    assert await receive(door, told(HARD, clock.now, mail)) == 1
    assert await door.reasons() == []
    assert await kept(door) == [(HARD, None)]


@pytest.mark.parametrize(
    "values",
    [
        {"provider_id": "other"},
        {"recipient": BEN},
        {"recipient": "no address"},
        {"provider_id": "p-1", "recipient": BEN},
        {"outbox_id": 2**62},
        {"outbox_id": 2**62, "provider_id": "p-1"},
        {"outbox_id": None},
        {"outbox_id": None, "provider_id": ""},
        {"outbox_id": None, "provider_id": "other"},
        {"outbox_id": None, "recipient": ANN},
    ],
)
async def test_what_is_not_about_mail_of_ours_is_kept_and_touches_nobody(
    door: Door, clock: Clock, values: dict[str, Any]
) -> None:
    await door.bring("confirmed")
    mail = await mailed(door, provider_id="p-1")
    await receive(door, told(COMPLAINT, clock.now, **({"outbox_id": mail} | values)))
    assert (await door.status(), await door.reasons()) == ("confirmed", [])
    event = (await door.rows(tables.feedback_events))[0]
    assert event["outbox_id"] is event["address_hash"] is None


@pytest.mark.parametrize("ours", ["p-1@mail.example", "<p-1@mail.example>"])
@pytest.mark.parametrize("theirs", ["p-1@mail.example", "<p-1@mail.example>"])
async def test_the_name_at_the_provider_is_enough_with_brackets_or_without(
    door: Door, clock: Clock, ours: str, theirs: str
) -> None:
    await door.bring("confirmed")
    mail = await mailed(door, provider_id=ours)
    await receive(door, told(HARD, clock.now, provider_id=theirs))
    assert await kept(door) == [(HARD, mail)]
    assert await door.reasons() == ["hard_bounce"]


async def test_of_a_mail_that_went_twice_the_first_copy_counts_too(
    door: Door, clock: Clock
) -> None:
    await door.bring("confirmed")
    mail = await mailed(door, provider_id="second")
    first = told(COMPLAINT, clock.now, mail, provider_id="first", recipient=ANN)
    await receive(door, first)
    assert await kept(door) == [(COMPLAINT, mail)]
    assert await door.status() == "unsubscribed"


async def test_in_a_batch_under_one_name_the_recipient_tells_which_mail_it_was(
    door: Door, clock: Clock
) -> None:
    await door.bring("confirmed")
    await door(sign_up(BEN))
    mail = await mailed(door, provider_id="batch")
    await mailed(door, BEN, provider_id="batch")
    await receive(door, told(COMPLAINT, clock.now, provider_id="batch"))
    assert await kept(door) == [(COMPLAINT, None)]
    clock.advance(seconds=1)
    await receive(door, told(COMPLAINT, clock.now, provider_id="batch", recipient=ANN))
    assert await kept(door) == [(COMPLAINT, None), (COMPLAINT, mail)]
    assert (await door.status(), await door.status(BEN)) == ("unsubscribed", "pending")


async def test_a_subscriber_who_is_gone_leaves_nothing_to_do(door: Door, clock: Clock) -> None:
    await door.bring("pending")
    mail = await mailed(door)

    def remove(connection: Connection) -> None:
        connection.execute(delete(tables.subscriptions))
        connection.execute(delete(tables.subscribers))

    await door.engine.write(remove)
    await receive(door, told(HARD, clock.now, mail, recipient=ANN))
    assert await kept(door) == [(HARD, mail)]
    assert await door.reasons() == []
    assert (await door.rows(tables.feedback_events))[0]["address_hash"] is None


async def test_a_mail_without_a_subscriber_leaves_nothing_to_do(door: Door, clock: Clock) -> None:
    mail = await mailed(door, kind="test", subscriber_id=None, subscription_id=None)
    await receive(door, told(HARD, clock.now, mail))
    assert await kept(door) == [(HARD, mail)]
    assert await door.reasons() == []


async def test_the_fifth_mail_in_a_row_that_bounces_softly_is_as_good_as_a_hard_bounce(
    door: Door,
) -> None:
    await door.bring("confirmed")
    events = await bounced_softly(door, 5, days=2)
    await receive(door, *events[:4])
    assert await door.reasons() == []
    await receive(door, events[4])
    assert (await door.status(), await door.reasons()) == ("confirmed", ["hard_bounce"])


async def test_one_mail_bounces_once_however_often_it_is_told(door: Door, clock: Clock) -> None:
    await door.bring("confirmed")
    mail = await mailed(door)
    await receive(door, *(told(SOFT, clock.now, mail) for _ in range(9)))
    assert await door.reasons() == []


async def test_a_delivery_forgives_what_was_before_it_even_if_it_is_told_late(door: Door) -> None:
    await door.bring("confirmed")
    events = await bounced_softly(door, 6, days=2)
    between = told(DELIVERED, events[3].at, await mailed(door))
    await receive(door, *events[:4])
    await receive(door, between)
    await receive(door, *events[4:])
    assert await door.reasons() == []


async def test_a_soft_bounce_from_before_the_last_delivery_does_not_count(door: Door) -> None:
    await door.bring("confirmed")
    events = await bounced_softly(door, 5, days=2)
    await receive(door, told(DELIVERED, events[0].at, await mailed(door)))
    await receive(door, *events[::-1])
    assert await door.reasons() == []


async def test_a_delivery_before_all_of_them_forgives_nothing(door: Door) -> None:
    await door.bring("confirmed")
    events = await bounced_softly(door, 5, days=2)
    early = told(DELIVERED, events[0].at - timedelta(seconds=1), await mailed(door))
    await receive(door, *events[:0:-1])
    await receive(door, early, events[0])
    assert await door.reasons() == ["hard_bounce"]


async def test_a_delivery_by_a_clock_that_is_ahead_does_not_forgive_what_is_to_come(
    door: Door, clock: Clock
) -> None:
    await door.bring("confirmed")
    await receive(door, told(DELIVERED, clock.now + timedelta(days=9), await mailed(door)))
    clock.advance(days=1)
    await receive(door, *await bounced_softly(door, 5, hours=1))
    assert await door.reasons() == ["hard_bounce"]


async def test_an_admin_who_lifts_a_suppression_forgives_what_led_to_it(
    door: Door, clock: Clock
) -> None:
    await door.bring("confirmed")
    await receive(door, *await bounced_softly(door, 5, days=2))
    hashed = door.house.address_hash(ANN)
    await door.engine.write(suppressions.lift, door.house, hashed, None)
    clock.advance(seconds=1)
    await receive(door, *await bounced_softly(door, 4))
    assert await door.reasons() == []
    clock.advance(seconds=1)
    await receive(door, *await bounced_softly(door, 1))
    assert await door.reasons() == ["hard_bounce"]


async def test_a_delivery_to_somebody_else_forgives_nothing(door: Door, clock: Clock) -> None:
    await door.bring("confirmed")
    await door(sign_up(BEN))
    events = await bounced_softly(door, 5, days=2)
    await receive(door, *events, told(DELIVERED, clock.now, await mailed(door, BEN)))
    assert await door.reasons() == ["hard_bounce"]


async def test_soft_bounces_are_forgotten_after_thirty_days(door: Door, clock: Clock) -> None:
    await door.bring("confirmed")
    await receive(door, *await bounced_softly(door, 4, days=1))
    clock.advance(days=29, hours=1)
    await receive(door, *await bounced_softly(door, 1))
    assert await door.reasons() == []


@pytest.mark.parametrize("kind", [HARD, COMPLAINT])
async def test_a_suppression_holds_though_its_event_is_older_than_the_request(
    door: Door, clock: Clock, kind: Happened
) -> None:
    await door.bring("confirmed")
    before = clock.now - timedelta(hours=1)
    await receive(door, told(kind, before, await mailed(door)))
    assert await door.reasons() == [kind]


async def test_who_left_and_asked_again_is_not_sent_away_by_the_old_event(
    door: Door, clock: Clock
) -> None:
    await door.bring("confirmed")
    mail, left = await mailed(door), clock.now
    clock.advance(hours=1)
    await door(await door.leave())
    await door(sign_up())
    await receive(door, told(GONE, left, mail))
    assert await door.status() == "pending"
    await receive(door, told(GONE, clock.now, mail))
    assert await door.status() == "unsubscribed"


async def test_events_happen_in_the_order_of_their_times(door: Door, clock: Clock) -> None:
    await door.bring("confirmed")
    mail = await mailed(door)
    late = told(COMPLAINT, clock.now + timedelta(seconds=1), mail)
    await receive(door, late, told(GONE, clock.now, mail))
    methods = [event["method"] for event in await door.events()]
    assert methods == ["form", "page", "api"]
    assert await door.reasons() == ["complaint"]


async def test_many_events_in_one_call(door: Door, clock: Clock) -> None:
    people = [f"{number}@example.org" for number in range(60)]
    await door(*map(sign_up, people))
    mails = [await mailed(door, email) for email in people]
    assert await receive(door, *(told(HARD, clock.now, mail) for mail in mails)) == 60
    assert await door.reasons() == ["hard_bounce"] * 60


async def test_no_events_are_no_work(door: Door) -> None:
    assert await receive(door) == 0
    assert await kept(door) == []
