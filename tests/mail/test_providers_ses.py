"""Payloads and errors as in "SendEmail" of the Amazon SES API v2 reference, in "Common errors" and,
for the texts, in the developer guide's "Email sending errors" and "Errors related to the sending
quotas", November 2026.
"""

import json
from base64 import b64decode
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from app.domain.retry import Outcome, Verdict
from app.mail.compose import compose
from app.mail.message import Message
from app.mail.providers.ses import Account, SesTransport
from app.mail.providers.sigv4 import Credentials
from tests.mail.letters import LETTER, LETTERHEAD
from tests.mail.providers import NOW, SES, Ses, Wire, ses_error

pytestmark = pytest.mark.anyio

ERRORS = [
    (400, "AccountSuspendedException", Outcome.SENDER_FAULT),
    (400, "SendingPausedException", Outcome.SENDER_FAULT),
    (400, "MailFromDomainNotVerifiedException", Outcome.SENDER_FAULT),
    (404, "NotFoundException", Outcome.SENDER_FAULT),
    (403, "AccessDeniedException", Outcome.SENDER_FAULT),
    (400, "AccessDeniedException", Outcome.SENDER_FAULT),
    (403, "ExpiredTokenException", Outcome.SENDER_FAULT),
    (400, "ExpiredTokenException", Outcome.SENDER_FAULT),
    (400, "IncompleteSignatureException", Outcome.SENDER_FAULT),
    (403, "InvalidSignatureException", Outcome.SENDER_FAULT),
    (403, "SignatureDoesNotMatch", Outcome.SENDER_FAULT),
    (403, "InvalidClientTokenId", Outcome.SENDER_FAULT),
    (403, "UnrecognizedClientException", Outcome.SENDER_FAULT),
    (403, "OptInRequired", Outcome.SENDER_FAULT),
    (400, "RequestExpired", Outcome.SENDER_FAULT),
    (429, "TooManyRequestsException", Outcome.RETRY_TRANSPORT),
    (400, "ThrottlingException", Outcome.RETRY_TRANSPORT),
    (400, "Throttling", Outcome.RETRY_TRANSPORT),
    (400, "LimitExceededException", Outcome.RETRY_TRANSPORT),
    (500, "InternalFailure", Outcome.RETRY_TRANSPORT),
    (503, "ServiceUnavailable", Outcome.RETRY_TRANSPORT),
    (400, "MessageRejected", Outcome.BAD_MESSAGE),
    (400, "BadRequestException", Outcome.BAD_MESSAGE),
    (400, "ValidationError", Outcome.BAD_MESSAGE),
    (413, "RequestEntityTooLarge", Outcome.BAD_MESSAGE),
]
QUOTAS = [
    ("Maximum sending rate exceeded.", timedelta(seconds=1)),
    ("Daily message quota exceeded.", timedelta(minutes=10)),
    ("Rate exceeded", None),
]


def letter(number: int = 42) -> Message:
    mail = compose("confirm", LETTERHEAD).fill(replace(LETTER, id=number))
    return replace(mail, sender="bounce+42@bounces.example.org")


async def verdict_on(response: httpx.Response) -> Verdict:
    transport = SesTransport(SES, 2, Wire(lambda _: response), lambda: NOW)
    return await transport.send(letter())


async def test_a_mail_goes_as_it_is() -> None:
    wire = Wire(Ses().answer)
    verdict = await SesTransport(SES, 2, wire, lambda: NOW).send(letter())
    assert verdict == Verdict(Outcome.SENT, "200", "0102018f-000001")
    [request] = wire.requests
    body = json.loads(request.content)
    assert b64decode(body["Content"]["Raw"].pop("Data")) == letter().content
    assert body == {
        "Content": {"Raw": {}},
        "Destination": {"ToAddresses": ["Reader@Example.org"]},
        "EmailTags": [{"Name": "outbox", "Value": "42"}],
    }
    assert request.headers["X-Amz-Date"] == "20261125T120000Z"
    assert "/20261125/eu-west-1/ses/aws4_request" in request.headers["Authorization"]


async def test_a_wrong_secret_is_a_fault_of_ours() -> None:
    account = Account(Credentials("AKIDEXAMPLE", "wrong"), "eu-west-1")
    verdict = await SesTransport(account, 2, Wire(Ses().answer), lambda: NOW).send(letter())
    assert verdict == Verdict(Outcome.SENDER_FAULT, "403 InvalidSignatureException")


@pytest.mark.parametrize(("status", "name", "outcome"), ERRORS)
async def test_each_error_has_its_outcome(status: int, name: str, outcome: Outcome) -> None:
    verdict = await verdict_on(ses_error(status, name, "about x@example.net"))
    assert verdict == Verdict(outcome, f"{status} {name}")


@pytest.mark.parametrize("name", ["ThrottlingException", "TooManyRequestsException"])
@pytest.mark.parametrize(("text", "wait"), QUOTAS)
async def test_a_quota_defers(name: str, text: str, wait: timedelta | None) -> None:
    verdict = await verdict_on(ses_error(400, name, text))
    assert verdict == Verdict(Outcome.RETRY_TRANSPORT, f"400 {name}", retry_after=wait)


async def test_a_wait_that_is_asked_for_comes_first() -> None:
    response = ses_error(429, "TooManyRequestsException", "Daily message quota exceeded.")
    response.headers["Retry-After"] = "90"
    assert (await verdict_on(response)).retry_after == timedelta(seconds=90)


@pytest.mark.parametrize(
    "text",
    [
        "Email address is not verified. The following identities failed the check: a@example.org",
        "Account is paused. Your account's ability to send email is paused.",
        "Sending paused for this account. For more information, check the inbox.",
        "Sending suspended for this account. For more information, check the inbox.",
    ],
)
async def test_a_rejection_for_its_sender_is_a_fault_of_ours(text: str) -> None:
    verdict = await verdict_on(ses_error(400, "MessageRejected", text))
    assert verdict == Verdict(Outcome.SENDER_FAULT, "400 MessageRejected")


@pytest.mark.parametrize(
    "body",
    [
        {"__type": "com.amazonaws.ses#MessageRejected", "message": "virus"},
        {"__type": "MessageRejected", "Message": "virus"},
        {"code": "MessageRejected"},
    ],
)
async def test_an_error_may_be_named_in_the_body(body: dict[str, str]) -> None:
    verdict = await verdict_on(httpx.Response(400, json=body))
    assert verdict == Verdict(Outcome.BAD_MESSAGE, "400 MessageRejected")


@pytest.mark.parametrize("named", ["x@example.net", "", ":", "#", "A" * 81, "a b"])
async def test_a_name_that_is_none_is_not_repeated(named: str) -> None:
    response = httpx.Response(400, headers={"x-amzn-ErrorType": named}, json={})
    assert await verdict_on(response) == Verdict(Outcome.BAD_MESSAGE, "400")


@pytest.mark.parametrize("body", [None, {}, [], {"MessageId": None}, {"MessageId": 7}])
async def test_a_success_that_says_nothing_is_unknown(body: object) -> None:
    assert await verdict_on(httpx.Response(200, json=body)) == Verdict(Outcome.UNKNOWN, "200")
