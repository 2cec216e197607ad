"""What providers send, written after their documentation as it was in November 2026.

Postmark: postmarkapp.com/developer/webhooks (Bounce, Delivery, Spam complaint, Subscription
change). Amazon SES: docs.aws.amazon.com/ses/latest/dg, "Contents of event data that Amazon SES
publishes to Amazon SNS"; Amazon SNS: docs.aws.amazon.com/sns/latest/dg, "Parsing message formats"
and "Verifying the signatures". Mailgun: documentation.mailgun.com/docs/mailgun/user-manual/webhooks
("Webhook payloads", "Securing webhooks", "Webhook retries").
"""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

ANN = "ann@example.org"
AT = datetime(2026, 11, 5, 16, 33, 54, 907026, UTC)
AT_TEXT = "2026-11-05T16:33:54.9070263Z"
OUTBOX = 42
NO_SUCH_USER = "550 5.1.1 The email account that you tried to reach does not exist"

POSTMARK_ID = "883953f4-6105-42a2-a16a-77a8eac79483"
SES_ID = "EXAMPLE7c191be45-e9aedb9a-02f9-4d12-a87d-dd0099a07f8a-000000"
SNS_ID = "165545c9-2a5c-472c-8df2-7ff2be2b3b1b"
MAILGUN_ID = "20261105163354.000be97f99f8cea1@mail.example.org"
MAILGUN_KEY = b"key-of-no-account"

TOPIC = "arn:aws:sns:eu-west-1:123456789012:newsletter-feedback"
SNS_HOST = "sns.eu-west-1.amazonaws.com"
CERTIFICATE_URL = (
    f"https://{SNS_HOST}/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem"
)


def postmark(record: str, **values: Any) -> bytes:  # noqa: ANN401 - any member
    """Return a webhook of Postmark; a value of None leaves the member out."""
    at, to = {
        "Delivery": ("DeliveredAt", "Recipient"),
        "SubscriptionChange": ("ChangedAt", "Recipient"),
    }.get(record, ("BouncedAt", "Email"))
    members = {
        "RecordType": record,
        "MessageID": POSTMARK_ID,
        "ServerID": 23,
        "MessageStream": "broadcast",
        "Tag": "",
        "Metadata": {"outbox": str(OUTBOX)},
        at: AT_TEXT,
        to: ANN,
        **values,
    }
    return json.dumps({n: v for n, v in members.items() if v is not None}).encode()


def postmark_bounce(kind: str = "HardBounce", **values: Any) -> bytes:  # noqa: ANN401
    members = {
        "ID": 4323372036854775807,
        "Type": kind,
        "TypeCode": 1,
        "Name": "Hard bounce",
        "Description": "The server was unable to deliver your message",
        "Details": f"smtp;{NO_SUCH_USER}",
        "From": "in@example.org",
        "DumpAvailable": True,
        "Inactive": True,
        "CanActivate": True,
        "Subject": "Please confirm",
        **values,
    }
    return postmark("Bounce", **members)


def ses(name: str, part: str = "", **values: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return an event of SES, with what is particular to it under its own member."""
    mail = {
        "timestamp": "2026-11-05T16:33:54.907Z",
        "source": "in@example.org",
        "sendingAccountId": "123456789012",
        "messageId": SES_ID,
        "destination": [ANN],
        "headersTruncated": False,
        "tags": {"ses:configuration-set": ["newsletter"], "outbox": [str(OUTBOX)]},
    }
    event: dict[str, Any] = {"eventType": name, "mail": mail}
    if part:
        event[part] = {"timestamp": "2026-11-05T16:33:54.907Z", **values}
    return event


def ses_bounce(
    kind: str = "Permanent",
    subtype: str = "General",
    **recipient: Any,  # noqa: ANN401
) -> dict[str, Any]:
    to = {
        "emailAddress": ANN,
        "action": "failed",
        "status": "5.1.1",
        "diagnosticCode": f"smtp; {NO_SUCH_USER}",
        **recipient,
    }
    return ses(
        "Bounce",
        "bounce",
        feedbackId="01000157c44f053b-61b59c11-9236-11e6-8f96-7be8aexample-000000",
        bounceType=kind,
        bounceSubType=subtype,
        bouncedRecipients=[to],
        reportingMTA="dsn; mta.example.org",
    )


@dataclass
class Amazon:
    """A topic that signs, with a certificate of its own."""

    now: datetime
    key: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    lifetime: timedelta = timedelta(days=300)

    @property
    def certificate(self) -> bytes:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        builder = x509.CertificateBuilder(name, name, self.key.public_key(), 7)
        begin = self.now - timedelta(days=30)
        made = builder.not_valid_before(begin).not_valid_after(begin + self.lifetime)
        return made.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def message(self, event: object = "", **values: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return a signed notification that brings an event; values replace its members."""
        members = {
            "Type": "Notification",
            "MessageId": SNS_ID,
            "TopicArn": TOPIC,
            "Message": event if isinstance(event, str) else json.dumps(event),
            "Timestamp": self.now.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
            "SignatureVersion": "2",
            "SigningCertURL": CERTIFICATE_URL,
            "UnsubscribeURL": f"https://{SNS_HOST}/?Action=Unsubscribe",
            **values,
        }
        return {"Signature": self.sign(members), **members}

    def confirmation(self, **values: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return the signed request to confirm the subscription."""
        token = "2336412f37fb687f5d51e6e2425ba1f2"  # noqa: S105 - of no subscription
        url = f"https://{SNS_HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token={token}"
        asked = {"Type": "SubscriptionConfirmation", "Token": token, "SubscribeURL": url}
        text = "You have chosen to subscribe to the topic"
        return self.message(text, **(asked | values))

    def sign(self, members: dict[str, Any]) -> str:
        """Sign as the documentation says: name and value in turn, each with a line feed."""
        names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
        if members["Type"] != "Notification":
            names = [
                "Message",
                "MessageId",
                "SubscribeURL",
                "Timestamp",
                "Token",
                "TopicArn",
                "Type",
            ]
        text = "".join(f"{name}\n{members[name]}\n" for name in names if name in members)
        signed = self.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return base64.b64encode(signed).decode()


def mailgun(event: str | None, now: datetime, **values: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a signed webhook of Mailgun; values replace members of its event."""
    data = {
        "id": "CCXMjJ7nQi2N3BPigGOdgQ",
        "timestamp": AT.timestamp(),
        "log-level": "info",
        "event": event,
        "recipient": ANN,
        "recipient-domain": "example.org",
        "message": {"headers": {"message-id": MAILGUN_ID, "to": ANN}, "size": 341},
        "user-variables": {"outbox": str(OUTBOX)},
        **values,
    }
    return {"signature": mailgun_signature(now), "event-data": data}


def mailgun_failure(now: datetime, **values: Any) -> dict[str, Any]:  # noqa: ANN401
    status = {
        "attempt-no": 1,
        "bounce-type": "hard",
        "code": 550,
        "enhanced-code": "5.1.1",
        "message": NO_SUCH_USER,
        "description": "",
        "mx-host": "mx.example.org",
        **values.pop("status", {}),
    }
    members = {"severity": "permanent", "reason": "bounce", "delivery-status": status, **values}
    return mailgun("failed", now, **members)


def mailgun_signature(
    now: datetime,
    token: str = "e0b5477167110d68991efc6b9f89f0a11066af27834600e123",  # noqa: S107
) -> dict[str, str]:
    timestamp = str(int(now.timestamp()))
    signed = hmac.new(MAILGUN_KEY, (timestamp + token).encode(), hashlib.sha256)
    return {"timestamp": timestamp, "token": token, "signature": signed.hexdigest()}
