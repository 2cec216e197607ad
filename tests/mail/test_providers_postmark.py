"""Payloads and codes as in Postmark's "Email API" and "API overview", November 2026."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.domain.retry import Outcome, Verdict
from app.mail.compose import compose
from app.mail.message import Message
from app.mail.providers.postmark import Account, PostmarkTransport
from tests.mail.letters import LETTER, LETTERHEAD, UNSUBSCRIBE, bodies, message
from tests.mail.providers import NOW, POSTMARK, Postmark, Wire, postmark_error

pytestmark = pytest.mark.anyio

OUTCOMES = {
    Outcome.SENDER_FAULT: (10, 400, 401, 405, 412, 413, 1235),
    Outcome.RETRY_TRANSPORT: (100, 429),
    Outcome.REFUSED: (406,),
    Outcome.BAD_MESSAGE: (300, 402, 403, 409, 410, 411, 99_999),
}
CODES = [(code, outcome) for outcome, codes in OUTCOMES.items() for code in codes]


TWO_TEXTS = (
    b'From: a@example.org\r\nContent-Type: multipart/mixed; boundary="-"\r\n\r\n'
    b"---\r\n\r\none\r\n---\r\n\r\ntwo\r\n-----\r\n"
)


def letter(number: int = 42) -> Message:
    mail = compose("confirm", LETTERHEAD).fill(replace(LETTER, id=number))
    return replace(mail, sender="bounce+42@bounces.example.org")


def postmark(
    answer: Callable[[httpx.Request], httpx.Response], stream: str = "outbound"
) -> PostmarkTransport:
    account = Account(POSTMARK.token, stream)
    return PostmarkTransport(account, 2, Wire(answer), lambda: NOW)


async def verdicts(transport: PostmarkTransport, count: int) -> list[Verdict]:
    sending = [transport.send(letter(number)) for number in range(count)]
    return list(await asyncio.gather(*sending))


def items(request: httpx.Request) -> list[dict[str, Any]]:
    told = json.loads(request.content)
    assert isinstance(told, list)
    return told


def saying(status: int, body: object, **headers: str) -> PostmarkTransport:
    return postmark(lambda _: httpx.Response(status, json=body, headers=headers))


async def test_a_mail_is_told_as_the_documentation_asks() -> None:
    wire = Wire(Postmark().answer)
    transport = PostmarkTransport(Account(POSTMARK.token, "news"), 2, wire)
    assert (await transport.send(letter())).outcome is Outcome.SENT
    text, html = bodies(letter().content)
    assert items(wire.requests[0]) == [
        {
            "From": "Harbour <news@example.org>",
            "To": "Reader@Example.org",
            "Subject": "Please confirm your subscription to Harbour Insights",
            "ReplyTo": "hello@example.org",
            "TextBody": text,
            "HtmlBody": html,
            "Headers": [
                {"Name": "Message-ID", "Value": "<42.20261122213005123456@news.example.org>"},
                {"Name": "Auto-Submitted", "Value": "auto-generated"},
                {"Name": "List-Id", "Value": "<insights.news.example.org>"},
                {"Name": "List-Unsubscribe", "Value": f"<{UNSUBSCRIBE}>"},
                {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"},
                {"Name": "X-PM-KeepID", "Value": "true"},
            ],
            "Metadata": {"outbox": "42"},
            "MessageStream": "news",
            "TrackOpens": False,
            "TrackLinks": "None",
        }
    ]
    assert wire.requests[0].headers["Accept"] == "application/json"


async def test_a_signature_over_other_bytes_is_left_out() -> None:
    wire = Wire(Postmark().answer)
    signed = replace(letter(), content=b"DKIM-Signature: v=1; a=rsa-sha256\r\n" + letter().content)
    await PostmarkTransport(POSTMARK, 2, wire).send(signed)
    names = {header["Name"] for header in items(wire.requests[0])[0]["Headers"]}
    assert "DKIM-Signature" not in names
    assert "List-Unsubscribe" in names


async def test_mails_that_leave_together_are_one_request() -> None:
    wire = Wire(Postmark().answer)
    transport = PostmarkTransport(POSTMARK, 2, wire)
    assert transport.connections == 100
    sent = await verdicts(transport, 100)
    assert {verdict.outcome for verdict in sent} == {Outcome.SENT}
    assert len({verdict.provider_id for verdict in sent}) == 100
    assert [len(items(request)) for request in wire.requests] == [100]


@pytest.mark.parametrize(("code", "outcome"), CODES)
async def test_each_code_of_an_item_has_its_outcome(code: int, outcome: Outcome) -> None:
    taken = {"MessageID": "b7bc2f4a", "To": "x@example.net", **postmark_error(0, "OK")}
    transport = saying(200, [taken, postmark_error(code, "about x@example.net"), taken])
    one, two, three = await verdicts(transport, 3)
    assert two == Verdict(outcome, f"200 {code}")
    assert one == three == Verdict(Outcome.SENT, "200 0", "b7bc2f4a")


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (401, 10, Outcome.SENDER_FAULT),
        (403, None, Outcome.SENDER_FAULT),
        (404, None, Outcome.SENDER_FAULT),
        (413, None, Outcome.BAD_MESSAGE),
        (415, None, Outcome.SENDER_FAULT),
        (422, 412, Outcome.SENDER_FAULT),
        (422, 300, Outcome.BAD_MESSAGE),
        (422, 406, Outcome.REFUSED),
        (422, 0, Outcome.BAD_MESSAGE),
        (422, None, Outcome.BAD_MESSAGE),
        (429, None, Outcome.RETRY_TRANSPORT),
        (429, 429, Outcome.RETRY_TRANSPORT),
        (500, None, Outcome.RETRY_TRANSPORT),
        (503, 100, Outcome.RETRY_TRANSPORT),
    ],
)
async def test_a_refusal_of_the_whole_concerns_each(
    status: int, code: int | None, outcome: Outcome
) -> None:
    body = None if code is None else postmark_error(code, "about x@example.net")
    told = await verdicts(saying(status, body), 3)
    detail = f"{status}" if code is None else f"{status} {code}"
    assert told == [Verdict(outcome, detail)] * 3


async def test_a_wait_that_is_asked_for_is_kept() -> None:
    headers = {"Retry-After": "30"}
    whole = await verdicts(saying(429, None, **headers), 1)
    item = await verdicts(saying(200, [postmark_error(429, "")], **headers), 1)
    assert whole[0].retry_after == item[0].retry_after == timedelta(seconds=30)


async def test_sending_one_by_one_ends_with_an_answer_that_is_about_all() -> None:
    asked: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(len(items(request)))
        if asked[-1] > 1:
            return httpx.Response(422, json=postmark_error(300, "one of them"))
        if len(asked) == 2:
            return httpx.Response(200, json=[{"ErrorCode": 0, "MessageID": "p-1"}])
        return httpx.Response(429, headers={"Retry-After": "60"})

    told = await verdicts(postmark(answer), 5)
    assert asked == [5, 1, 1]
    assert [verdict.outcome for verdict in told] == [
        Outcome.SENT,
        *[Outcome.RETRY_TRANSPORT] * 4,
    ]
    assert {verdict.retry_after for verdict in told[1:]} == {timedelta(seconds=60)}


@pytest.mark.parametrize("status", [413, 422])
async def test_a_batch_that_is_refused_for_one_mail_is_sent_one_by_one(status: int) -> None:
    known = Postmark()

    def choosy(request: httpx.Request) -> httpx.Response:
        if any(item["Metadata"]["outbox"] == "2" for item in items(request)):
            return httpx.Response(status, json=postmark_error(300, "Invalid"))
        return known.answer(request)

    told = await verdicts(postmark(choosy), 5)
    outcomes = [verdict.outcome for verdict in told]
    assert outcomes == [Outcome.SENT] * 2 + [Outcome.BAD_MESSAGE] + [Outcome.SENT] * 2
    assert len(known.arrived) == 4


@pytest.mark.parametrize(
    "body", [None, {}, [], [{}], "OK", postmark_error(0, "OK"), [postmark_error(0, "OK")] * 3]
)
async def test_a_success_that_does_not_fit_the_batch_is_unknown(body: object) -> None:
    assert await verdicts(saying(200, body), 2) == [Verdict(Outcome.UNKNOWN, "200")] * 2


@pytest.mark.parametrize("code", [None, "0", 0.0, True, [0]])
async def test_an_item_without_a_code_is_unknown_alone(code: object) -> None:
    taken = postmark_error(0, "OK")
    told = await verdicts(saying(200, [taken, {"ErrorCode": code}]), 2)
    assert told == [Verdict(Outcome.SENT, "200 0"), Verdict(Outcome.UNKNOWN, "200")]


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: from nobody\r\n\r\nhello\r\n",
        b"From: a@example.org, b@example.org\r\n\r\nhello\r\n",
        b"From: a@example.org\r\nContent-Type: application/pdf\r\n\r\n%PDF\r\n",
        b"From: a@example.org\r\nContent-Type: text/plain; charset=martian\r\n\r\nhello\r\n",
        b"From: a@example.org\r\nContent-Disposition: attachment\r\n\r\nhello\r\n",
        TWO_TEXTS,
    ],
)
async def test_a_mail_that_cannot_be_told_whole_is_held(content: bytes) -> None:
    wire = Wire(Postmark().answer)
    verdict = await PostmarkTransport(POSTMARK, 2, wire).send(message(content=content))
    assert verdict.outcome is Outcome.BAD_MESSAGE
    assert wire.requests == []


async def test_requests_are_never_more_than_connections() -> None:
    wire = Wire(Postmark().answer)
    transport = PostmarkTransport(POSTMARK, 2, wire)
    wire.gate.clear()
    sending = [asyncio.create_task(transport.send(letter(number))) for number in range(350)]
    await asyncio.sleep(0.5)
    wire.gate.set()
    assert {(await task).outcome for task in sending} == {Outcome.SENT}
    assert wire.most == 2
    assert [len(items(request)) for request in wire.requests] == [100, 100, 100, 50]


async def test_closing_gives_up_what_is_under_way() -> None:
    wire = Wire(Postmark().answer)
    wire.gate.clear()
    transport = PostmarkTransport(POSTMARK, 2, wire)
    sending = asyncio.create_task(transport.send(letter()))
    await asyncio.wait_for(wire.taken.wait(), 5)
    await transport.close()
    assert (await sending).outcome is Outcome.UNKNOWN
    assert (wire.under_way, wire.closed) == (0, True)
