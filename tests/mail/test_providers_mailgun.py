"""Payloads and codes as in Mailgun's "Send an email in MIME format" and "API response codes", texts
as in its "Error codes library", November 2026.
"""

from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from app.domain.retry import Outcome, Verdict
from app.mail.compose import compose
from app.mail.message import Message
from app.mail.providers.mailgun import Account, MailgunTransport
from tests.mail.letters import LETTER, LETTERHEAD
from tests.mail.providers import MAILGUN, NOW, Mailgun, Wire, form

pytestmark = pytest.mark.anyio

STATUSES = [
    (400, Outcome.BAD_MESSAGE),
    (401, Outcome.SENDER_FAULT),
    (402, Outcome.SENDER_FAULT),
    (403, Outcome.SENDER_FAULT),
    (404, Outcome.SENDER_FAULT),
    (413, Outcome.BAD_MESSAGE),
    (420, Outcome.RETRY_TRANSPORT),
    (429, Outcome.RETRY_TRANSPORT),
    (500, Outcome.RETRY_TRANSPORT),
    (502, Outcome.RETRY_TRANSPORT),
    (503, Outcome.RETRY_TRANSPORT),
    (504, Outcome.RETRY_TRANSPORT),
]
LIMIT = "Domain mg.example.org is not allowed to send: recipient limit exceeded, try again after "


def letter(number: int = 42) -> Message:
    mail = compose("confirm", LETTERHEAD).fill(replace(LETTER, id=number))
    return replace(mail, sender="bounce+42@bounces.example.org")


async def verdict_on(status: int, body: object, **headers: str) -> Verdict:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    wire = Wire(lambda _: httpx.Response(status, json=body, headers=named))
    return await MailgunTransport(MAILGUN, 2, wire, lambda: NOW).send(letter())


async def test_a_mail_goes_as_it_is() -> None:
    wire = Wire(Mailgun().answer)
    verdict = await MailgunTransport(MAILGUN, 2, wire).send(letter())
    assert verdict == Verdict(Outcome.SENT, "200", "0102018f-000001@mg.example.org")
    assert form(wire.requests[0]) == {
        "to": b"Reader@Example.org",
        "o:tracking": b"no",
        "v:outbox": b"42",
        "message": letter().content,
    }
    assert b'filename="message.mime"' in wire.requests[0].content


async def test_a_domain_in_europe_is_asked_there() -> None:
    wire = Wire(lambda _: httpx.Response(500))
    account = Account(MAILGUN.key, "mg.example.org", "api.eu.mailgun.net")
    await MailgunTransport(account, 2, wire).send(letter())
    assert str(wire.requests[0].url) == "https://api.eu.mailgun.net/v3/mg.example.org/messages.mime"


async def test_a_wrong_key_is_a_fault_of_ours() -> None:
    account = replace(MAILGUN, key="wrong")
    verdict = await MailgunTransport(account, 2, Wire(Mailgun().answer)).send(letter())
    assert verdict == Verdict(Outcome.SENDER_FAULT, "401")


@pytest.mark.parametrize(("status", "outcome"), STATUSES)
async def test_each_status_has_its_outcome(status: int, outcome: Outcome) -> None:
    verdict = await verdict_on(status, {"message": "about x@example.net"})
    assert verdict == Verdict(outcome, str(status))


@pytest.mark.parametrize(
    "reason",
    [
        "Sandbox subdomains are for test purposes only. Please add your own domain.",
        "Free accounts are for test purposes only. Please upgrade.",
        "The domain is unverified and requires DNS configuration.",
        "Please activate your Mailgun account.",
    ],
)
async def test_a_domain_that_may_not_send_is_a_fault_of_ours(reason: str) -> None:
    text = f"Domain mg.example.org is not allowed to send: {reason}"
    assert await verdict_on(400, {"message": text}) == Verdict(Outcome.SENDER_FAULT, "400")


@pytest.mark.parametrize("status", [420, 429])
@pytest.mark.parametrize(
    ("until", "wait"),
    [
        ("Wed, 25 Nov 2026 12:00:31 UTC", timedelta(seconds=31)),
        ("Wed, 25 Nov 2026 12:20:00 UTC.", timedelta(minutes=20)),
        ("Thu, 26 Nov 2026 12:00:00 UTC", timedelta(hours=1)),
        ("Wed, 25 Nov 2026 11:59:59 UTC", None),
        ("a while", None),
    ],
)
async def test_a_limit_defers_until_it_ends(
    status: int, until: str, wait: timedelta | None
) -> None:
    verdict = await verdict_on(status, {"message": LIMIT + until})
    assert verdict == Verdict(Outcome.RETRY_TRANSPORT, str(status), retry_after=wait)


@pytest.mark.parametrize(
    ("reset", "wait"),
    [
        (str(int(NOW.timestamp()) + 5), timedelta(seconds=5)),
        (str(int(NOW.timestamp()) * 1000 + 2500), timedelta(seconds=2.5)),
        (str(int(NOW.timestamp()) - 5), None),
        ("9" * 13, timedelta(hours=1)),
        ("9" * 14, None),
        ("5", None),
        ("soon", None),
    ],
)
async def test_a_rate_limit_defers_until_its_reset(reset: str, wait: timedelta | None) -> None:
    verdict = await verdict_on(429, {}, X_RateLimit_Reset=reset)
    assert verdict == Verdict(Outcome.RETRY_TRANSPORT, "429", retry_after=wait)


async def test_a_wait_that_is_asked_for_comes_first() -> None:
    reset = str(int(NOW.timestamp()) + 500)
    verdict = await verdict_on(429, {}, X_RateLimit_Reset=reset, Retry_After="7")
    assert verdict.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize("body", [None, {}, [], "Queued.", {"id": None}, {"id": 7}])
async def test_a_success_that_says_nothing_is_unknown(body: object) -> None:
    assert await verdict_on(200, body) == Verdict(Outcome.UNKNOWN, "200")
