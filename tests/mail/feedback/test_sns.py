from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.domain.errors import Distrusted
from app.mail.feedback import sns
from app.mail.feedback.readings import Reading
from tests.mail.feedback.payloads import CERTIFICATE_URL, SNS_HOST, TOPIC, Amazon

NOW = datetime(2026, 11, 5, 17, 0, tzinfo=UTC)
TOPICS = {TOPIC, "arn:aws:sns:us-east-1:123456789012:other"}


@pytest.fixture(scope="module")
def amazon() -> Amazon:
    return Amazon(NOW)


def reason(error: pytest.ExceptionInfo[Distrusted]) -> str:
    assert error.value.reason not in error.value.detail
    return error.value.reason


def test_a_signed_message_is_proven(amazon: Amazon) -> None:
    for message in (
        amazon.message("Grüße \U0001f469 with\nline feeds"),
        amazon.message("text", Subject="Amazon SES Email Event Notification"),
        amazon.confirmation(),
        amazon.confirmation(Type="UnsubscribeConfirmation"),
    ):
        reading = Reading(message)
        assert sns.certificate_url(reading, TOPICS, NOW) == CERTIFICATE_URL
        sns.verify(reading, amazon.certificate, NOW)


@pytest.mark.parametrize(
    "name", ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type", "Signature"]
)
@pytest.mark.parametrize("value", ["other", "", None, 7, "\ud800"])
def test_nothing_that_is_signed_can_be_changed(amazon: Amazon, name: str, value: object) -> None:
    message = {**amazon.message("text", Subject="Hello"), name: value}
    with pytest.raises(Distrusted):
        sns.verify(Reading(message), amazon.certificate, NOW)


def test_nothing_can_be_left_out_or_added(amazon: Amazon) -> None:
    message = amazon.message("text", Subject="Hello")
    for name in ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type", "Signature"):
        without = {n: v for n, v in message.items() if n != name}
        with pytest.raises(Distrusted):
            sns.verify(Reading(without), amazon.certificate, NOW)
    with pytest.raises(Distrusted):
        sns.verify(Reading({**amazon.message("text"), "Subject": "x"}), amazon.certificate, NOW)


def test_a_message_cannot_pass_for_one_of_another_type(amazon: Amazon) -> None:
    for kind in ("Notification", "SubscriptionConfirmation", "Other"):
        message = {**amazon.confirmation(Type="UnsubscribeConfirmation"), "Type": kind}
        with pytest.raises(Distrusted):
            sns.verify(Reading(message), amazon.certificate, NOW)


def test_the_key_of_somebody_else_proves_nothing(amazon: Amazon) -> None:
    with pytest.raises(Distrusted) as error:
        sns.verify(Reading(amazon.message("text")), Amazon(NOW).certificate, NOW)
    assert reason(error) == "signature"


@pytest.mark.parametrize(
    ("when", "accepted"),
    [
        (NOW - timedelta(days=31), False),
        (NOW - timedelta(days=29), True),
        (NOW + timedelta(days=269), True),
        (NOW + timedelta(days=271), False),
    ],
)
def test_a_certificate_is_valid_in_its_time_only(
    amazon: Amazon, when: datetime, *, accepted: bool
) -> None:
    message = Reading(amazon.message("text"))
    if accepted:
        sns.verify(message, amazon.certificate, when)
        return
    with pytest.raises(Distrusted) as error:
        sns.verify(message, amazon.certificate, when)
    assert reason(error) == "certificate time"


def certified(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7)
    made = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_what_is_no_certificate_with_a_strong_rsa_key_proves_nothing(amazon: Amazon) -> None:
    bare = amazon.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
    curve = certified(ec.generate_private_key(ec.SECP256R1()))
    for certificate in (b"", b"<html>", bare, certified(weak), curve):
        with pytest.raises(Distrusted) as error:
            sns.verify(Reading(amazon.message("text")), certificate, NOW)
        assert reason(error).startswith("certificate")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"TopicArn": "arn:aws:sns:eu-west-1:999999999999:newsletter-feedback"}, "topic"),
        ({"TopicArn": f"{TOPIC}x"}, "topic"),
        ({"TopicArn": ""}, "topic"),
        ({"TopicArn": None}, "topic"),
        ({"TopicArn": [TOPIC]}, "topic"),
        ({"Timestamp": "2026-11-05T15:59:59.000Z"}, "time"),
        ({"Timestamp": "2026-11-05T17:05:01.000Z"}, "time"),
        ({"Timestamp": "1970-01-01T00:00:00.000Z"}, "time"),
        ({"Timestamp": "now"}, "form"),
        ({"Timestamp": None}, "form"),
        ({"SignatureVersion": "1"}, "signature version"),
        ({"SignatureVersion": 2}, "signature version"),
        ({"SignatureVersion": None}, "signature version"),
    ],
)
def test_a_foreign_topic_a_stale_time_and_sha_1_are_refused_before_anything_is_fetched(
    amazon: Amazon, values: dict[str, Any], why: str
) -> None:
    message = Reading({**amazon.message("text"), **values})
    with pytest.raises(Distrusted) as error:
        sns.certificate_url(message, TOPICS, NOW)
    assert reason(error) == why


@pytest.mark.parametrize("timestamp", ["2026-11-05T16:00:00.000Z", "2026-11-05T17:05:00.000Z"])
def test_an_hour_back_and_five_minutes_ahead_are_taken(amazon: Amazon, timestamp: str) -> None:
    message = Reading(amazon.message("text", Timestamp=timestamp))
    assert sns.certificate_url(message, TOPICS, NOW) == CERTIFICATE_URL


@pytest.mark.parametrize(
    "url",
    [
        "",
        None,
        CERTIFICATE_URL.replace("https", "http"),
        CERTIFICATE_URL.replace("eu-west-1", "us-east-1"),
        CERTIFICATE_URL.replace("https://", "https://user@"),
        CERTIFICATE_URL.replace("https://", "https://a:b@"),
        CERTIFICATE_URL.replace(".com/", ".com:443/"),
        CERTIFICATE_URL.replace(".com/", ".com:8443/"),
        CERTIFICATE_URL.replace(".com/", ".com.cn/"),
        CERTIFICATE_URL.replace(".com/", ".com.evil.example/"),
        CERTIFICATE_URL.replace(".com/", ".com@evil.example/"),
        CERTIFICATE_URL.replace(".com/", ".com\\@evil.example/"),
        CERTIFICATE_URL.replace("sns.", "evil.sns."),
        CERTIFICATE_URL.replace("sns.", "s3."),
        f"{CERTIFICATE_URL}?x=.pem",
        f"{CERTIFICATE_URL}#.pem",
        f"{CERTIFICATE_URL}\n",
        f" {CERTIFICATE_URL}",
        f"https://{SNS_HOST}/?Action=x&y=.pem",
        f"https://{SNS_HOST}/a/../b.pem",
        f"https://{SNS_HOST}/certificate.txt",
        f"https://{SNS_HOST}.pem",
        f"HTTPS://{SNS_HOST}/x.pem",
        f"https://{SNS_HOST.upper()}/x.pem",
        "https://127.0.0.1/x.pem",
        "file:///etc/x.pem",
    ],
)
def test_a_certificate_lies_on_the_host_of_the_topics_region_and_nowhere_else(
    amazon: Amazon, url: object
) -> None:
    message = Reading(amazon.message("text", SigningCertURL=url))
    with pytest.raises(Distrusted) as error:
        sns.certificate_url(message, TOPICS, NOW)
    assert reason(error) == "certificate address"


@pytest.mark.parametrize(
    ("topic", "host"),
    [
        (TOPIC, SNS_HOST),
        ("arn:aws-cn:sns:cn-north-1:123456789012:t", "sns.cn-north-1.amazonaws.com.cn"),
        ("arn:aws-us-gov:sns:us-gov-west-1:123456789012:t", "sns.us-gov-west-1.amazonaws.com"),
        ("arn:aws:sqs:eu-west-1:123456789012:t", None),
        ("arn:aws:sns:evil.example/:123456789012:t", None),
        ("arn:aws:sns:eu-west-1:1:t", None),
    ],
)
def test_the_host_follows_from_the_topic(topic: str, host: str | None) -> None:
    assert sns.host_of(topic) == host


def test_a_subscription_is_confirmed_where_the_topic_lives(amazon: Amazon) -> None:
    message = amazon.confirmation()
    assert sns.subscribe_url(Reading(message)) == message["SubscribeURL"]
    assert sns.subscribe_url(Reading(amazon.message("text"))) is None
    unsubscribed = amazon.confirmation(Type="UnsubscribeConfirmation")
    assert sns.subscribe_url(Reading(unsubscribed)) is None


def test_and_nothing_else_is_fetched_in_its_name(amazon: Amazon) -> None:
    good = str(amazon.confirmation()["SubscribeURL"])
    bad = [
        "",
        good.replace("https", "http"),
        good.replace("eu-west-1.amazonaws", "us-east-1.amazonaws"),
        good.replace(".com/", ".com:443/"),
        good.replace(".com/", ".com@evil.example/"),
        good.replace("https://", "https://a@"),
        good.replace(".com/?", ".com/x?"),
        good.replace("ConfirmSubscription", "DeleteTopic"),
        good.replace("Token=2", "Token=3"),
        good.replace("123456789012", "999999999999"),
        f"{good}&Action=DeleteTopic",
        f"{good}&x=",
        f"{good}#x",
    ]
    for url in bad:
        with pytest.raises(Distrusted) as error:
            sns.subscribe_url(Reading(amazon.confirmation(SubscribeURL=url)))
        assert reason(error) == "subscribe address"
