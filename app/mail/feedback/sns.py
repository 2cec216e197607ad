"""Amazon SNS, which brings what SES tells: whose topic it is, how old, and signed by whom.

The checks are ordered so that nothing is fetched for a stranger: topic, age, the certificate's
address, and only then, with the certificate, the signature.
"""

import base64
import re
from collections.abc import Collection
from datetime import datetime, timedelta
from urllib.parse import parse_qsl

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from app.domain.errors import Distrusted, Invalid
from app.mail.feedback.readings import Reading

MAX_AGE = timedelta(hours=1)
"""SNS tries again for at most an hour."""

MAX_AHEAD = timedelta(minutes=5)

_TOPIC = re.compile(r"arn:(aws[a-z-]*):sns:([a-z0-9-]{3,30}):[0-9]{12}:[A-Za-z0-9_.-]{1,256}")
_CERTIFICATE = re.compile(r"/[A-Za-z0-9._-]{1,200}\.pem")
_SHA256 = "2"
_KEY_BITS = 2048
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": (
        "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
    ),
}  # fmt: skip
_SIGNED["UnsubscribeConfirmation"] = _SIGNED["SubscriptionConfirmation"]


def host_of(topic: str) -> str | None:
    """Return the host that speaks for a topic; None if it is not the ARN of a topic."""
    found = _TOPIC.fullmatch(topic)
    if found is None:
        return None
    return f"sns.{found[2]}.amazonaws.com" + (".cn" if found[1] == "aws-cn" else "")


def certificate_url(message: Reading, topics: Collection[str], now: datetime) -> str:
    """Return where the certificate lies that the message is said to be signed with.

    Raises Distrusted if the topic is not one of ours, the message too old or of tomorrow, or the
    address not on the host of the topic's own region.
    """
    host = _host(message)
    if message.raw("TopicArn") not in topics:
        raise Distrusted("topic")
    try:
        age = now - message.moment("Timestamp")
    except Invalid as error:
        raise Distrusted("form") from error
    if not -MAX_AHEAD <= age <= MAX_AGE:
        raise Distrusted("time")
    if message.raw("SignatureVersion") != _SHA256:  # version 1 is SHA-1
        raise Distrusted("signature version")
    url, origin = message.raw("SigningCertURL"), f"https://{host}"
    if not url.startswith(origin) or not _CERTIFICATE.fullmatch(url.removeprefix(origin)):
        raise Distrusted("certificate address")
    return url


def verify(message: Reading, certificate: bytes, now: datetime) -> None:
    """Raise Distrusted unless the message is signed with the certificate and that is valid now.

    Who it belongs to is vouched for by the host that it was fetched from.
    """
    key = _key(certificate, now)
    names = _SIGNED.get(message.raw("Type"))
    if names is None:
        raise Distrusted("type")
    lines = (f"{name}\n{message.raw(name)}\n" for name in names if name in message.values)
    signed = "".join(lines).encode(errors="surrogatepass")
    try:
        signature = base64.b64decode(message.raw("Signature"), validate=True)
        key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, InvalidSignature) as error:
        raise Distrusted("signature") from error


def is_certificate(body: bytes, now: datetime) -> bool:
    """Tell whether this is a certificate that is valid now."""
    try:
        _key(body, now)
    except Distrusted:
        return False
    return True


def _key(certificate: bytes, now: datetime) -> RSAPublicKey:
    try:
        found = x509.load_pem_x509_certificate(certificate)
        key = found.public_key()
    except (ValueError, TypeError) as error:
        raise Distrusted("certificate") from error
    if not found.not_valid_before_utc <= now <= found.not_valid_after_utc:
        raise Distrusted("certificate time")
    if not isinstance(key, RSAPublicKey) or key.key_size < _KEY_BITS:
        raise Distrusted("certificate key")
    return key


def subscribe_url(message: Reading) -> str | None:
    """Return what to fetch so that the topic's messages come here; None if that is not asked.

    Raises Distrusted if the address would do anything else.
    """
    if message.raw("Type") != "SubscriptionConfirmation":
        return None
    url, origin = message.raw("SubscribeURL"), f"https://{_host(message)}/?"
    asked = {
        "Action": "ConfirmSubscription",
        "TopicArn": message.raw("TopicArn"),
        "Token": message.raw("Token"),
    }
    query = parse_qsl(url.removeprefix(origin), keep_blank_values=True)
    if not url.startswith(origin) or "#" in url or sorted(query) != sorted(asked.items()):
        raise Distrusted("subscribe address")
    return url


def _host(message: Reading) -> str:
    host = host_of(message.raw("TopicArn"))
    if host is None:
        raise Distrusted("topic")
    return host
