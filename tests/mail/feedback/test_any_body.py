"""Whatever a proven body holds: reports that can be stored, or a Problem."""

import copy
import json
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Distrusted, Invalid, Unreadable
from app.domain.feedback import Report
from app.mail.feedback import mailgun, postmark, ses
from app.mail.feedback.readings import LENGTH, Reading
from tests.mail.feedback import payloads
from tests.mail.feedback.payloads import ANN, AT, MAILGUN_KEY, SNS_ID

Read = Callable[[Any], list[Report]]

COMPLAINT = payloads.ses("Complaint", "complaint", complainedRecipients=[{"emailAddress": ANN}])
DELAY = payloads.ses("DeliveryDelay", "deliveryDelay", delayedRecipients=[{"emailAddress": ANN}])
LEFT = payloads.ses("Subscription", "subscription", newTopicPreferences={"unsubscribeAll": True})
CHANGE = payloads.postmark("SubscriptionChange", SuppressSending=True, Origin="Recipient")


def read_postmark(event: object) -> list[Report]:
    return postmark.reports(json.dumps(event).encode(), AT)


def read_mailgun(event: object) -> list[Report]:
    return mailgun.reports(json.dumps(event).encode(), MAILGUN_KEY, AT)


def read_ses(event: object) -> list[Report]:
    message = {"Type": "Notification", "MessageId": SNS_ID, "Message": json.dumps(event)}
    return ses.reports(Reading(message), AT)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())  # surrogates and NUL as well
    | st.sampled_from(["\ud800", "\x00", "5.1.1", "x" * 300, "2026-11-05T16:33:54Z", 10**30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def places(value: object, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of everything inside."""
    pairs = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value if isinstance(value, list) else [])
    )
    inner = [(child, (*here, name)) for name, child in pairs]
    return [path for _, path in inner] + [p for child, path in inner for p in places(child, path)]


def replaced(body: Any, path: tuple[Any, ...], value: object) -> Any:  # noqa: ANN401 - JSON
    changed = copy.deepcopy(body)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (read_postmark, json.loads(payloads.postmark_bounce())),
        (read_postmark, json.loads(payloads.postmark("Delivery"))),
        (read_postmark, json.loads(CHANGE)),
        (read_mailgun, payloads.mailgun_failure(AT)),
        (read_mailgun, payloads.mailgun("complained", AT)),
        (read_ses, payloads.ses_bounce()),
        (read_ses, payloads.ses("Delivery", "delivery", recipients=[ANN])),
        (read_ses, COMPLAINT),
        (read_ses, DELAY),
        (read_ses, LEFT),
    ],
)
@hypothesis.settings(max_examples=50)
@given(data=st.data())
def test_a_member_may_be_anything(read: Read, body: dict[str, Any], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(places(body)))
    changed = replaced(body, path, data.draw(VALUES))
    try:
        reports = read(changed)
    except (Distrusted, Invalid, Unreadable) as problem:
        problem.detail.encode()
        return
    for report in reports:
        assert report.at.tzinfo is not None
        for text in (report.event_id, report.provider_id, report.recipient, report.detail):
            assert "\x00" not in (text or "")
            assert len((text or "").encode()) <= 4 * LENGTH
        assert report.outbox_id is None or 0 < report.outbox_id < 2**63
