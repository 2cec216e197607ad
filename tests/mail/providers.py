"""The providers as their documentation describes them, written in November 2026 from these pages.

Postmark: "Email API" and "API overview" (postmarkapp.com/developer/api/email-api, .../overview).
Amazon SES: "SendEmail" in the API v2 reference (docs.aws.amazon.com/ses/latest/APIReference-V2/
API_SendEmail.html), "Errors related to the sending quotas" and "Email sending errors" in the
developer guide. Mailgun: "Send an email in MIME format", "API response codes" and the "Error codes
library" (documentation.mailgun.com). Nothing here was recorded from a real account.
"""

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage, Message
from typing import Any

import httpx

from app.mail.message import parse
from app.mail.providers import mailgun, postmark, ses, sigv4
from tests.mail.letters import bodies

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
POSTMARK = postmark.Account("b0a5c0de-0000-4000-8000-00000000cafe", "outbound")
CREDENTIALS = sigv4.Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "s+/=")
SES = ses.Account(CREDENTIALS, "eu-west-1")
MAILGUN = mailgun.Account(
    "key-3ax6xnjp29jd6fds4gc373sgvjxteol0", "mg.example.org", "api.mailgun.net"
)


@dataclass(frozen=True)
class Arrival:
    """A mail as it arrived."""

    recipient: str
    headers: dict[str, str]
    text: str
    html: str
    source: bytes | None


def arrival(recipient: str, source: bytes) -> Arrival:
    text, html = bodies(source)
    headers = {name: str(value) for name, value in parse(source).items()}
    return Arrival(recipient, headers, text, html, source)


class Wire(httpx.AsyncBaseTransport):
    """The network to a provider: it keeps what was sent, and can be held up or cut."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self.answer = answer
        self.requests: list[httpx.Request] = []
        self.before: Exception | None = None
        self.after: Exception | None = None
        self.taken = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = 0
        self.most = 0
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.before:
            raise self.before
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await request.aread()
            self.requests.append(request)
            self.taken.set()
            response = self.answer(request)
            await self.gate.wait()
        finally:
            self.under_way -= 1
        if self.after:
            raise self.after
        return response

    async def aclose(self) -> None:
        self.closed = True


@dataclass
class Provider:
    """What all of them have: mails that arrived, and recipients whom they refuse."""

    arrived: list[Arrival] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    def take(self, mail: Arrival) -> str:
        self.arrived.append(mail)
        return f"0102018f-{len(self.arrived):06}"


class Postmark(Provider):
    def answer(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, str(request.url)) == (
            "POST",
            "https://api.postmarkapp.com/email/batch",
        )
        assert request.headers["Content-Type"] == "application/json"
        if request.headers["X-Postmark-Server-Token"] != POSTMARK.token:
            return httpx.Response(401, json=postmark_error(10, "No Account or Server API tokens."))
        return httpx.Response(200, json=[self._one(item) for item in json.loads(request.content)])

    def _one(self, item: dict[str, Any]) -> dict[str, object]:
        to = item["To"]
        if to in self.refused:
            text = f"You tried to send to a recipient that has been marked as inactive: {to}."
            return postmark_error(406, text)
        told = {"From": item["From"], "To": to, "Subject": item["Subject"]}
        told |= {header["Name"]: header["Value"] for header in item["Headers"]}
        number = self.take(Arrival(to, told, item["TextBody"], item["HtmlBody"], None))
        return {
            "To": to,
            "SubmittedAt": "2026-11-25T12:00:00.0000000Z",
            "MessageID": number,
            **postmark_error(0, "OK"),
        }


def postmark_error(code: int, text: str) -> dict[str, object]:
    return {"ErrorCode": code, "Message": text}


class Ses(Provider):
    """Its documented way to tell of a bad recipient is a bounce later, so it refuses like this."""

    def answer(self, request: httpx.Request) -> httpx.Response:
        url = "https://email.eu-west-1.amazonaws.com/v2/email/outbound-emails"
        assert (request.method, str(request.url)) == ("POST", url)
        if not _is_signed(request):
            return ses_error(403, "InvalidSignatureException", "The request signature is wrong.")
        body = json.loads(request.content)
        [recipient] = body["Destination"]["ToAddresses"]
        if recipient in self.refused:
            text = f"Local address contains control or whitespace: {recipient}"
            return ses_error(400, "BadRequestException", text)
        number = self.take(arrival(recipient, b64decode(body["Content"]["Raw"]["Data"])))
        return httpx.Response(200, json={"MessageId": number})


def _is_signed(request: httpx.Request) -> bool:
    """Sign what came once more, for the host and the time that came with it."""
    at = datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    headers = {"Content-Type": request.headers["Content-Type"]}
    call = sigv4.Call("POST", f"https://{request.headers['Host']}{request.url.path}", headers)
    call = sigv4.Call(call.method, call.url, headers, request.content)
    expected = sigv4.sign(call, CREDENTIALS, sigv4.Place("eu-west-1", "ses"), at)
    assert "content-type;host;x-amz-date;x-amz-security-token" in expected["Authorization"]
    return all(request.headers.get(name) == value for name, value in expected.items())


def ses_error(status: int, name: str, text: str) -> httpx.Response:
    headers = {"x-amzn-ErrorType": f"{name}:http://internal.amazon.com/coral/com.amazonaws.ses/"}
    return httpx.Response(status, headers=headers, json={"message": text})


class Mailgun(Provider):
    def answer(self, request: httpx.Request) -> httpx.Response:
        url = "https://api.mailgun.net/v3/mg.example.org/messages.mime"
        assert (request.method, str(request.url)) == ("POST", url)
        login = b64encode(f"api:{MAILGUN.key}".encode()).decode()
        if request.headers["Authorization"] != f"Basic {login}":
            return httpx.Response(401, text="Forbidden")
        fields = form(request)
        recipient = fields["to"].decode()
        if recipient in self.refused:
            text = f"to parameter is not a valid address. please check documentation: {recipient}"
            return httpx.Response(400, json={"message": text})
        number = self.take(arrival(recipient, fields["message"]))
        return httpx.Response(
            200, json={"id": f"<{number}@mg.example.org>", "message": "Queued. Thank you."}
        )


def form(request: httpx.Request) -> dict[str, bytes]:
    """Read a multipart form; an uploaded mail is a part that is itself a message."""
    kind = request.headers["Content-Type"]
    raw = f"Content-Type: {kind}\r\n\r\n".encode() + request.content
    boundary = message_from_bytes(raw).get_boundary()
    assert boundary
    parts = request.content.split(f"--{boundary}".encode())[1:-1]
    return dict(_part(part.removeprefix(b"\r\n").removesuffix(b"\r\n")) for part in parts)


def _part(part: bytes) -> tuple[str, bytes]:
    head, _, body = part.partition(b"\r\n\r\n")
    disposition: Message | EmailMessage = message_from_bytes(head + b"\r\n\r\n")
    name = disposition.get_param("name", header="Content-Disposition")
    assert isinstance(name, str)
    return name, body
