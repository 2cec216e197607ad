"""Values for tests of mail."""

from dataclasses import replace
from datetime import UTC, datetime

from app.mail.compose import Letter, Letterhead, compose
from app.mail.message import Message, parse

KINDS = ("confirm", "already_subscribed", "welcome")
AT = datetime(2026, 11, 22, 21, 30, 5, 123456, tzinfo=UTC)
ACTION = "https://news.example.org/confirm/" + "aB3-_xYz" * 20
UNSUBSCRIBE = "https://news.example.org/unsubscribe/" + "q" * 263

LETTERHEAD = Letterhead(
    slug="insights",
    name="Harbour Insights",
    from_address="news@example.org",
    from_name="Harbour",
    reply_to="hello@example.org",
    pitch="Every other Thursday: one long read about ports.",
    promise="About two mails a month. Leaving takes one click.",
    postal_address="Harbour Media Ltd\n12 Quay Street\nBristol",
    locale="en",
    host="news.example.org",
)
LETTER = Letter(42, AT, "Reader@Example.org", ACTION, UNSUBSCRIBE)

HEADERS = [
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "Auto-Submitted",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "MIME-Version",
    "Content-Type",
]


def fill(kind: str = "confirm", letter: Letter = LETTER, **changes: str | None) -> bytes:
    return compose(kind, with_changes(changes)).fill(letter).content


def with_changes(changes: dict[str, str | None]) -> Letterhead:
    return replace(LETTERHEAD, **changes)  # type: ignore[arg-type]


def bodies(content: bytes) -> tuple[str, str]:
    plain, rich = parse(content).iter_parts()
    assert (plain.get_content_type(), rich.get_content_type()) == ("text/plain", "text/html")
    plain_text, rich_text = (part.get_content() for part in (plain, rich))
    return plain_text.replace("\r\n", "\n"), rich_text.replace("\r\n", "\n")


def message(number: int = 1, **changes: str | bytes) -> Message:
    content = changes.get("content", b"Subject: hi\r\n\r\nhello\r\n")
    sender, recipient = (
        changes.get("sender", "news@example.org"),
        changes.get("recipient", "reader@example.net"),
    )
    assert isinstance(content, bytes)
    assert isinstance(sender, str)
    assert isinstance(recipient, str)
    return Message(number, AT, sender, recipient, content)
