"""What providers tell over HTTP: taken once, or clearly refused before anything is stored."""

import base64
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from structlog.testing import capture_logs

from app.db import tables
from app.db.engine import Engine
from app.remote.fetches import Fetcher
from app.services import keys
from app.services.keys import Scope, Wish
from app.settings import Settings
from app.web.deps import Site
from app.web.limits import FEEDBACK
from tests.conftest import Clock, SignUp
from tests.mail.feedback import payloads
from tests.mail.feedback.payloads import MAILGUN_KEY, SNS_HOST, TOPIC, Amazon
from tests.services.letters import mailed
from tests.services.people import ANN, Door
from tests.web.answers import MARK, faults, on_sqlite, problem
from tests.web.conftest import Stored

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]

POSTMARK, SES, MAILGUN = (f"/v1/feedback/{name}" for name in ("postmark", "ses", "mailgun"))


@dataclass
class Web:
    """Amazon's hosts as far as we ask them: certificates, and subscriptions to confirm."""

    pages: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    is_away: bool = False

    def answer(self, request: httpx.Request) -> httpx.Response:
        url = f"https://{request.headers['host']}{request.url.raw_path.decode()}"
        self.asked.append(url)
        if self.is_away:
            raise httpx.ConnectError("away")
        body = self.pages.get(url)
        return httpx.Response(404) if body is None else httpx.Response(200, content=body)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    key = SecretStr(MAILGUN_KEY.decode())
    trusted = {"feedback_ses_topics": (TOPIC,), "feedback_mailgun_key": key}
    return settings.model_copy(update=trusted)


@pytest.fixture
def amazon(clock: Clock) -> Amazon:
    return Amazon(clock.now)


@pytest.fixture
def web(amazon: Amazon) -> Web:
    return Web({payloads.CERTIFICATE_URL: amazon.certificate})


@pytest.fixture
async def app(app: FastAPI, web: Web) -> FastAPI:
    """The service, with Amazon's hosts played by the test."""

    async def resolver(_host: str) -> Sequence[str]:
        return ["198.41.0.4"]

    site: Site = app.state.site
    fetcher = Fetcher(httpx.MockTransport(web.answer), resolver)
    app.state.site = replace(site, trust=replace(site.trust, fetcher=fetcher))
    return app


@pytest.fixture
def door(engine: Engine, site: Site) -> Door:
    return Door(engine, site.house)


@pytest.fixture
async def key(engine: Engine, clock: Clock) -> str:
    wish = Wish(name="postmark", scopes=[Scope.FEEDBACK_WRITE])
    return await engine.write(keys.create, wish, clock.now)


@pytest.fixture
async def mail(door: Door) -> int:
    """A mail that Ann, who has confirmed, was sent; its number is the one in the payloads."""
    await door.bring("confirmed")
    return await mailed(door, id=payloads.OUTBOX)


def basic(password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'any:{password}'.encode()).decode()}"}


async def post(
    client: httpx.AsyncClient, path: str, body: object, **headers: str
) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post(path, content=content, headers=headers)


def taken(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})


async def test_each_provider_is_heard(
    client: httpx.AsyncClient, door: Door, clock: Clock, amazon: Amazon, key: str, mail: int
) -> None:
    assert mail == payloads.OUTBOX
    taken(await post(client, POSTMARK, payloads.postmark("Delivery"), **basic(key)))
    assert await door.reasons() == []
    taken(await post(client, MAILGUN, payloads.mailgun_failure(clock.now)))
    assert (await door.status(), await door.reasons()) == ("confirmed", ["hard_bounce"])
    to = [{"emailAddress": ANN}]
    complaint = payloads.ses("Complaint", "complaint", complainedRecipients=to)
    headers = {
        "Content-Type": "text/plain; charset=UTF-8",
        "x-amz-sns-message-type": "Notification",
    }
    taken(await post(client, SES, amazon.message(complaint), **headers))
    assert (await door.status(), await door.reasons()) == (
        "unsubscribed",
        ["complaint", "hard_bounce"],
    )
    events = await door.rows(tables.feedback_events)
    assert {event["outbox_id"] for event in events} == {mail}
    assert {event["provider"] for event in events} == {"postmark", "ses", "mailgun"}


async def test_the_same_call_counts_once(
    client: httpx.AsyncClient, door: Door, clock: Clock, amazon: Amazon, key: str, mail: int
) -> None:
    assert mail
    calls: list[tuple[str, Any, dict[str, str]]] = [
        (POSTMARK, payloads.postmark_bounce(), basic(key)),
        (SES, amazon.message(payloads.ses_bounce()), {}),
        (MAILGUN, payloads.mailgun("complained", clock.now), {}),
    ]
    for path, body, headers in calls * 2:
        taken(await post(client, path, body, **headers))
    assert len(await door.rows(tables.feedback_events)) == 3
    assert (await door.kinds()).count("withdrawn") == 1


async def test_a_signature_of_mailgun_that_was_seen_cannot_carry_another_body(
    client: httpx.AsyncClient, door: Door, clock: Clock, mail: int
) -> None:
    assert mail
    taken(await post(client, MAILGUN, payloads.mailgun("opened", clock.now)))
    taken(await post(client, MAILGUN, payloads.mailgun("complained", clock.now)))
    assert (await door.status(), await door.reasons()) == ("confirmed", [])


async def test_postmark_may_send_the_key_as_a_bearer(client: httpx.AsyncClient, key: str) -> None:
    body = payloads.postmark("Delivery")
    taken(await post(client, POSTMARK, body, Authorization=f"Bearer {key}"))


async def test_the_log_counts_and_names_nobody(
    client: httpx.AsyncClient, clock: Clock, mail: int
) -> None:
    assert mail
    with capture_logs() as lines:
        await post(client, MAILGUN, payloads.mailgun("complained", clock.now))
        await post(client, MAILGUN, payloads.mailgun("complained", clock.now - timedelta(days=1)))
    heard, refused = (line for line in lines if line["event"].startswith("feedback"))
    assert heard == {
        "event": "feedback",
        "log_level": "info",
        "provider": "mailgun",
        "kinds": {"complaint": 1},
        "new": 1,
        "matched": 1,
    }
    assert refused == {
        "event": "feedback_refused",
        "log_level": "warning",
        "provider": "mailgun",
        "reason": "time",
    }
    assert ANN not in str(lines)


@on_sqlite
async def test_a_wrong_key_is_refused_before_anything_is_stored(
    client: httpx.AsyncClient, engine: Engine, clock: Clock, stored: Stored, mail: int, key: str
) -> None:
    assert mail
    before = await stored()
    other = Wish(name="reader", scopes=[Scope.SUBSCRIBERS_READ])
    reader = await engine.write(keys.create, other, clock.now)
    limited = Wish(name="one", scopes=[Scope.FEEDBACK_WRITE], newsletter="insights")
    one = await engine.write(keys.create, limited, clock.now)
    bad: list[dict[str, str]] = [
        {},
        {"Authorization": ""},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": f"Basic {base64.b64encode(b'no colon').decode()}"},
        {"Authorization": f"Basic {base64.b64encode(bytes([0xFF, 0x3A, 0xFF])).decode()}"},
        {"Authorization": f"Digest {key}"},
        {"Authorization": "Bearer nl_x_y"},
        basic(""),
        basic("nl_\x00_x"),
        basic("nl_ä_x"),
        basic(f"{key}x"),
        basic(key[:-1]),
    ]
    for headers in bad:
        answer = await post(client, POSTMARK, payloads.postmark_bounce(), **headers)
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"]
    for forbidden in (reader, one):
        answer = await post(client, POSTMARK, payloads.postmark_bounce(), **basic(forbidden))
        problem(answer, 403, "forbidden")
    assert await stored() == before


@on_sqlite
async def test_what_is_not_proven_to_be_mailguns_is_refused_before_anything_is_stored(
    client: httpx.AsyncClient, clock: Clock, stored: Stored, mail: int
) -> None:
    assert mail
    before = await stored()
    good = payloads.mailgun("complained", clock.now)
    bad = [
        {},
        {"event-data": good["event-data"]},
        {**good, "signature": {**good["signature"], "signature": MARK}},
        {**good, "signature": {**good["signature"], "token": "0" * 50}},
        payloads.mailgun("complained", clock.now - timedelta(hours=10)),
        payloads.mailgun("complained", clock.now + timedelta(minutes=6)),
    ]
    details = {
        problem(await post(client, MAILGUN, b), 401, "unauthenticated")["detail"] for b in bad
    }
    assert len(details) == 1
    assert await stored() == before


@on_sqlite
async def test_what_is_not_proven_to_be_our_topics_is_refused_before_anything_is_stored(
    client: httpx.AsyncClient, clock: Clock, amazon: Amazon, web: Web, stored: Stored, mail: int
) -> None:
    assert mail
    before = await stored()
    event = payloads.ses_bounce()
    old = (clock.now - timedelta(hours=1, minutes=1)).isoformat()
    foreign = "arn:aws:sns:eu-west-1:999999999999:newsletter-feedback"
    unasked = [
        event,  # without SNS around it
        amazon.message(event, TopicArn=foreign),
        amazon.message(event, Timestamp=old),
        amazon.message(event, SignatureVersion="1"),
        amazon.message(event, SigningCertURL="https://169.254.169.254/x.pem"),
        amazon.message(event, SigningCertURL=f"https://{SNS_HOST}.evil.example/x.pem"),
        amazon.confirmation(TopicArn=foreign),
    ]
    asked = [
        {**amazon.message(event), "Signature": "AAAA"},
        {**amazon.message(event), "Message": "{}"},
        {**amazon.message(event), "MessageId": "other"},
        Amazon(clock.now).message(event),
        amazon.message(event, SigningCertURL=f"https://{SNS_HOST}/missing.pem"),
        amazon.confirmation(SubscribeURL="https://169.254.169.254/latest/meta-data/"),
        {**amazon.confirmation(), "Token": "other"},
    ]
    details = set()
    for message in unasked:
        answer = await post(client, SES, message)
        details.add(problem(answer, 401, "unauthenticated")["detail"])
    assert web.asked == []
    for message in asked:
        answer = await post(client, SES, message)
        details.add(problem(answer, 401, "unauthenticated")["detail"])
    assert len(details) == 1
    assert set(web.asked) == {payloads.CERTIFICATE_URL, f"https://{SNS_HOST}/missing.pem"}
    assert await stored() == before


@on_sqlite
async def test_an_expired_certificate_is_refused(
    client: httpx.AsyncClient, clock: Clock, web: Web, stored: Stored
) -> None:
    before = await stored()
    expired = Amazon(clock.now, lifetime=timedelta(days=29))
    web.pages[payloads.CERTIFICATE_URL] = expired.certificate
    answer = await post(client, SES, expired.message(payloads.ses_bounce()))
    problem(answer, 401, "unauthenticated")
    assert await stored() == before


@on_sqlite
async def test_the_certificate_is_fetched_once(
    client: httpx.AsyncClient, amazon: Amazon, web: Web
) -> None:
    for number in range(3):
        message = amazon.message(payloads.ses_bounce(), MessageId=str(number))
        taken(await post(client, SES, message))
    assert web.asked == [payloads.CERTIFICATE_URL]


@on_sqlite
async def test_if_amazon_does_not_answer_it_should_tell_us_again(
    client: httpx.AsyncClient, amazon: Amazon, web: Web, stored: Stored
) -> None:
    before = await stored()
    web.is_away = True
    message = amazon.message(payloads.ses_bounce())
    problem(await post(client, SES, message), 503, "unreachable")
    assert await stored() == before
    web.is_away = False
    taken(await post(client, SES, message))


@on_sqlite
async def test_a_subscription_is_confirmed_once(
    client: httpx.AsyncClient, door: Door, amazon: Amazon, web: Web
) -> None:
    message = amazon.confirmation()
    url = str(message["SubscribeURL"])
    problem(await post(client, SES, message), 503, "unreachable")
    assert await door.rows(tables.feedback_events) == []
    web.pages[url] = b"<ConfirmSubscriptionResponse/>"
    for _ in range(2):
        taken(await post(client, SES, message))
    assert web.asked == [payloads.CERTIFICATE_URL, url, url]
    [event] = await door.rows(tables.feedback_events)
    assert (event["kind"], event["detail"]) == ("unknown", "SubscriptionConfirmation")


@on_sqlite
async def test_that_a_subscription_ended_is_kept_and_asks_nobody(
    client: httpx.AsyncClient, door: Door, amazon: Amazon, web: Web
) -> None:
    taken(await post(client, SES, amazon.confirmation(Type="UnsubscribeConfirmation")))
    assert web.asked == [payloads.CERTIFICATE_URL]
    assert len(await door.rows(tables.feedback_events)) == 1


@on_sqlite
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b'{"a": "\xe9"}', b"[]", b"null", b"[" * 100_000, b"a=b&c=d"],
)
@pytest.mark.parametrize("path", [POSTMARK, SES, MAILGUN])
async def test_an_unreadable_body_is_refused_before_anything_is_stored(
    client: httpx.AsyncClient, stored: Stored, key: str, path: str, body: bytes
) -> None:
    before = await stored()
    problem(await post(client, path, body, **basic(key)), 400, "unreadable")
    assert await stored() == before


@on_sqlite
@pytest.mark.parametrize("path", [POSTMARK, SES, MAILGUN])
@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_large_is_refused_before_anything_is_stored(
    client: httpx.AsyncClient, stored: Stored, key: str, path: str, *, announced: bool
) -> None:
    before = await stored()
    body = b'{"a": "' + b"x" * FEEDBACK + b'"}'

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    content = body if announced else chunks()
    answer = await client.post(path, content=content, headers=basic(key))
    problem(answer, 413, "too-large")
    assert await stored() == before


@on_sqlite
async def test_the_largest_body_is_read(client: httpx.AsyncClient, key: str) -> None:
    body = payloads.postmark("Delivery", Padding="")
    padded = payloads.postmark("Delivery", Padding="x" * (FEEDBACK - len(body)))
    assert len(padded) == FEEDBACK
    taken(await post(client, POSTMARK, padded, **basic(key)))


@on_sqlite
async def test_a_proven_body_that_makes_no_sense_is_named_and_not_stored(
    client: httpx.AsyncClient, clock: Clock, amazon: Amazon, stored: Stored, key: str
) -> None:
    before = await stored()
    calls: list[tuple[str, object, str]] = [
        (POSTMARK, b"{}", "/RecordType"),
        (POSTMARK, payloads.postmark_bounce(BouncedAt=MARK), "/BouncedAt"),
        (POSTMARK, payloads.postmark_bounce(Email=f"{MARK}\x00"), "/Email"),
        (POSTMARK, payloads.postmark_bounce(MessageID="\ud800"), "/MessageID"),
        (SES, amazon.message({**payloads.ses_bounce(), "bounce": MARK}), "/bounce"),
        (MAILGUN, payloads.mailgun("delivered", clock.now, message=MARK), "/event-data/message"),
    ]
    for path, body, pointer in calls:
        assert faults(await post(client, path, body, **basic(key))) == [pointer]
    assert await stored() == before


@on_sqlite
async def test_who_opened_a_mail_is_not_stored(
    client: httpx.AsyncClient, amazon: Amazon, stored: Stored, key: str, mail: int
) -> None:
    assert mail
    before = await stored()
    taken(await post(client, POSTMARK, payloads.postmark("Open"), **basic(key)))
    taken(await post(client, SES, amazon.message(payloads.ses("Open", "open"))))
    assert await stored() == before


@on_sqlite
async def test_a_provider_that_we_do_not_know_is_not_found(
    client: httpx.AsyncClient, key: str, stored: Stored
) -> None:
    before = await stored()
    for name in ("sendgrid", "Postmark", "ses%20", "%00", "ses/x"):
        answer = await post(
            client, f"/v1/feedback/{name}", payloads.postmark_bounce(), **basic(key)
        )
        problem(answer, 404, "not-found")
    assert await stored() == before


@on_sqlite
@pytest.mark.parametrize(
    ("path", "setting"), [(SES, "FEEDBACK_SES_TOPICS"), (MAILGUN, "FEEDBACK_MAILGUN_KEY")]
)
async def test_a_provider_that_is_not_set_up_says_how(
    client: httpx.AsyncClient, app: FastAPI, clock: Clock, path: str, setting: str
) -> None:
    site: Site = app.state.site
    nobody = replace(site.trust, ses_topics=frozenset(), mailgun_key=None)
    app.state.site = replace(site, trust=nobody)
    answer = await post(client, path, payloads.mailgun("complained", clock.now))
    assert f"NEWSLETTER_{setting}" in problem(answer, 404, "not-found")["detail"]


@on_sqlite
async def test_feedback_reaches_the_mail_of_the_sign_up_that_caused_it(
    client: httpx.AsyncClient, door: Door, sign_up: SignUp, key: str
) -> None:
    await sign_up()
    [lease] = await door.claim()
    body = payloads.postmark_bounce(Metadata={"outbox": str(lease.id)})
    taken(await post(client, POSTMARK, body, **basic(key)))
    assert await door.reasons() == ["hard_bounce"]
    await sign_up()
    assert await door.mails() == ["confirm"]
