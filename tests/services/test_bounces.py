from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.db import tables
from app.mail.feedback import reports
from app.services import bounces, links, return_paths
from app.services.house import House
from tests.mail import returned
from tests.mail.returned import complaint, exim, out_of_office, postfix
from tests.services.letters import mailed
from tests.services.people import ANN, Door

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]


@pytest.fixture
def house(house: House) -> House:
    return replace(house, bounce_address="bounces@example.org")


async def receive(door: Door, *mails: bytes) -> dict[str, int]:
    """Return the counts that are not zero."""
    read = [reports.read(mail) for mail in mails]
    tally: Counter[str] = await door.engine.write(bounces.receive, door.house, read)
    return {str(name): count for name, count in tally.items() if count}


def marked(door: Door, outbox_id: int) -> str:
    made = return_paths.make(door.house, outbox_id)
    assert made is not None
    return made


async def original(door: Door, outbox_id: int, **changes: Any) -> bytes:  # noqa: ANN401
    """Return the head of a mail of ours as it comes back; `changes` say what was forged."""
    [row] = [row for row in await door.rows(tables.outbox) if row["id"] == outbox_id]
    values = {**row, **changes}
    created_at: datetime = values["created_at"]
    url = links.unsubscribe_url(
        values.get("house", door.house), values["subscription_id"], row["created_at"]
    )
    url = url.replace(door.house.base_url, values.get("base_url", door.house.base_url))
    return (
        f"Message-ID: <{values['id']}.{created_at:%Y%m%d%H%M%S%f}@localhost>\r\n"
        f"List-Unsubscribe: <{url}>\r\n\r\nHello\r\n"
    ).encode()


async def test_a_bounce_to_the_return_path_of_a_mail_suppresses_its_reader(door: Door) -> None:
    await door.bring("confirmed")
    sent = await mailed(door)
    content = postfix(to=marked(door, sent).upper())
    assert await receive(door, content) == {"hard_bounce": 1}
    assert await door.reasons() == ["hard_bounce"]
    [event] = await door.rows(tables.feedback_events)
    assert (event["provider"], event["outbox_id"], event["detail"]) == ("mailbox", sent, "5.1.1")


OTHER = (
    "Final-Recipient: rfc822; carl@other.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n"
)


@pytest.mark.parametrize(("ours", "reasons"), [("carl@other.example", []), (ANN, ["hard_bounce"])])
async def test_of_several_recipients_only_ours_counts(
    door: Door, ours: str, reasons: list[str]
) -> None:
    await door.bring("confirmed")
    content = postfix(to=marked(door, await mailed(door))).replace(
        b"ann@example.net", ours.encode()
    )
    end = content.index(b"Final-Recipient")
    await receive(door, content[:end] + OTHER.encode() + b"\r\n" + content[end:])
    assert await door.reasons() == reasons


async def test_throttling_is_held_against_the_sender_and_never_against_the_reader(
    door: Door,
) -> None:
    await door.bring("confirmed")
    for number in range(6):
        path = marked(door, await mailed(door))
        told = postfix("4.7.28", "smtp; 421 4.7.28 rate limited", to=path, number=number)
        assert await receive(door, told) == {"failed": 1}
        delayed = postfix("4.4.7", "smtp; 450 4.7.1 blocked", to=path, number=10 + number)
        assert await receive(door, delayed) == {"failed": 1}
    assert await door.reasons() == []


@pytest.mark.parametrize("style", [complaint, returned.outlook_complaint])
async def test_a_complaint_with_our_mail_in_it_unsubscribes_its_reader(
    door: Door, style: Callable[..., bytes]
) -> None:
    await door.bring("confirmed")
    sent = await mailed(door)
    content = style(original=await original(door, sent))
    assert await receive(door, content) == {"complaint": 1}
    assert await door.status() == "unsubscribed"
    assert await door.reasons() == ["complaint"]


async def test_a_bounce_with_our_mail_in_it_needs_no_return_path(door: Door) -> None:
    await door.bring("confirmed")
    sent = await mailed(door)
    assert await receive(door, exim(original=await original(door, sent))) == {"hard_bounce": 1}


async def test_a_return_path_in_the_returned_mail_is_as_good(door: Door) -> None:
    await door.bring("confirmed")
    path = marked(door, await mailed(door))
    told = complaint(original=f"Return-Path: <{path}>\r\n\r\n".encode())
    assert await receive(door, told) == {"complaint": 1}


async def test_a_relay_may_have_folded_our_link(door: Door) -> None:
    await door.bring("confirmed")
    source = await original(door, await mailed(door))
    folded = source.replace(b"List-Unsubscribe: <", b"List-Unsubscribe:\r\n <")
    assert folded != source
    assert await receive(door, exim(original=folded)) == {"hard_bounce": 1}


async def test_what_agrees_with_no_mail_of_ours_touches_nobody(door: Door) -> None:
    await door.bring("confirmed")
    await door.bring("confirmed", "bob@example.org")
    sent = await mailed(door)
    others = await mailed(door, "bob@example.org")
    [row] = [row for row in await door.rows(tables.outbox) if row["id"] == sent]
    forged: list[dict[str, Any]] = [
        {"id": others},
        {"id": sent + 1_000},
        {"id": "9" * 18},
        {"id": "9" * 40},
        {"created_at": row["created_at"] + timedelta(microseconds=1)},
        {"subscription_id": (await door.joined("bob@example.org"))["id"]},
        {"base_url": "https://elsewhere.example.org"},
    ]
    mails = [exim(original=await original(door, sent, **changes)) for changes in forged]
    mails += [
        postfix(),
        exim(original=b""),
        postfix(to=f"bounces+{sent}.aaaaaaaaaaaaaaaa@example.org"),
        postfix(to=marked(door, sent + 1_000)),
        complaint(original=b"To: ann@example.org\r\n\r\n"),
    ]
    assert await receive(door, *mails) == {"unmatched": len(mails)}
    assert await door.reasons() == []
    assert await door.rows(tables.feedback_events) == []


async def test_a_link_that_another_installation_signed_proves_nothing(door: Door) -> None:
    await door.bring("confirmed")
    source = await original(door, await mailed(door))
    start = source.index(b"/unsubscribe/") + 20
    changed = source[:start] + bytes([source[start] ^ 1]) + source[start + 1 :]
    assert await receive(door, exim(original=changed)) == {"unmatched": 1}


async def test_a_mail_that_was_never_on_the_wire_cannot_bounce(door: Door) -> None:
    await door.bring("confirmed")
    waiting = await mailed(door, state="waiting", attempts=0)
    await receive(door, postfix(to=marked(door, waiting)))
    assert await door.reasons() == []


async def test_the_same_mail_read_again_counts_once(door: Door) -> None:
    await door.bring("confirmed")
    content = postfix("4.4.7", to=marked(door, await mailed(door)))
    assert await receive(door, content) == {"soft_bounce": 1}
    assert await receive(door, content, content) == {"soft_bounce": 2, "known": 2}
    assert len(await door.rows(tables.feedback_events)) == 1


async def test_two_mails_with_one_message_id_do_not_stand_for_each_other(door: Door) -> None:
    await door.bring("confirmed")
    forged, sound = postfix(), postfix(to=marked(door, await mailed(door)))
    assert await receive(door, forged, sound, forged) == {"hard_bounce": 1, "unmatched": 2}
    assert await door.reasons() == ["hard_bounce"]


async def test_soft_bounces_of_several_mails_add_up(door: Door) -> None:
    await door.bring("confirmed")
    date = f"{door.house.clock():%d %b %Y %H:%M:%S} +0000".encode()
    told = [
        postfix("5.2.2", to=marked(door, await mailed(door)), number=number).replace(
            b"Tue, 24 Nov 2026 10:00:00 +0100 (CET)", date
        )
        for number in range(5)
    ]
    assert await receive(door, *told[:4]) == {"soft_bounce": 4}
    assert await door.reasons() == []
    assert await receive(door, told[4]) == {"soft_bounce": 1}
    assert await door.reasons() == ["hard_bounce"]


async def test_mail_of_all_sorts_is_counted_and_only_reports_count(door: Door) -> None:
    await door.bring("confirmed", ANN)
    path = marked(door, await mailed(door))
    mails = [
        *(out_of_office(path), b"", b"\xff" * 99),
        *(postfix("5.7.1", to=path), postfix(action="delayed", to=path, number=2), postfix()),
    ]
    counts = {"ignored": 3, "failed": 1, "deferred": 1, "unmatched": 1}
    assert await receive(door, *mails) == counts
    assert await door.status() == "confirmed"
    assert await door.reasons() == []
