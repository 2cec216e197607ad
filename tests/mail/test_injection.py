from dataclasses import replace

import pytest

from app.mail.compose import ComposeError
from app.mail.message import parse
from app.mail.proofs import prove
from tests.mail.letters import ACTION, HEADERS, KINDS, LETTER, bodies, fill

PAYLOADS = [
    "=?utf-8?q?hi=0d=0aBcc:_x@example.org?=",
    "a\r\nBcc: x@example.org",
    "a\nBcc: x@example.org",
    "a\rBcc: x@example.org",
    "a\u2028Bcc: x@example.org",
    "a\u2029b",
    "a\x85b",
    "a\x00unsubscribe\x00b",
    "a\x1bb",
    "a\ud800b",
]
ONE_LINE_TEXTS = ["slug", "name", "from_address", "from_name", "reply_to", "host"]


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("place", ONE_LINE_TEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_text_of_a_letterhead_can_add_a_header(kind: str, place: str, payload: str) -> None:
    with pytest.raises(ComposeError) as raised:
        fill(kind, LETTER, **{place: payload})
    assert "Bcc" not in str(raised.value)


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("place", ["pitch", "promise", "postal_address"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_text_of_a_body_can_leave_it(kind: str, place: str, payload: str) -> None:
    try:
        content = fill(kind, LETTER, **{place: payload})
    except ComposeError:
        return
    assert parse(content).keys() == HEADERS
    assert len(bodies(content)) == 2


@pytest.mark.parametrize("payload", [*PAYLOADS, "a@b@c", "a b"])
def test_no_recipient_can_add_a_header(payload: str) -> None:
    for recipient in (payload, f"{payload}@example.org", f"a@{payload}", f"ü{payload}@exämple.org"):
        with pytest.raises(ComposeError):
            fill(letter=replace(LETTER, recipient=recipient))


@pytest.mark.parametrize(
    "recipient",
    [
        "<a@example.org>",
        "a@example.org,b@example.org",
        "a(comment)@example.org",
        '"a"@example.org',
        "a@[127.0.0.1]",
        "a..b@example.org",
        "a\u202eb@example.org",
        "ü" * 130 + "@example.org",
    ],
)
def test_a_recipient_that_reads_as_something_else_is_refused(recipient: str) -> None:
    with pytest.raises(ComposeError, match="recipient"):
        fill(letter=replace(LETTER, recipient=recipient))


@pytest.mark.parametrize(
    "url",
    [
        *PAYLOADS,
        *(f"https://example.org/{payload}" for payload in PAYLOADS if "=?" not in payload),
        "",
        "javascript:alert(1)",
        "https://example.org/<b>",
        "https://example.org/a b",
        'https://example.org/"onclick',
        "https://exämple.org/",
        "https://example.org/" + "x" * 900,
    ],
)
def test_no_url_can_leave_its_place(url: str) -> None:
    for change in (replace(LETTER, action_url=url), replace(LETTER, unsubscribe_url=url)):
        with pytest.raises(ComposeError, match="_url"):
            fill(letter=change)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Subject: ", b"Bcc: x@example.org\r\nSubject: "),
        (b"Auto-Submitted: auto-generated\r\n", b""),
        (b"Hello,", b"Hello\n,"),
        (b"Hello,", b"Hello" * 200),
        (b"text/plain", b"text/html"),
        (b"/confirm/", b"/confirm/=\r\n/"),
        (b"\r\n--=_", b"\r\n--=x"),
    ],
)
def test_the_proof_notices_what_should_not_be(old: bytes, new: bytes) -> None:
    links = (ACTION, ACTION)
    prove(fill(), HEADERS, links)
    with pytest.raises(ComposeError):
        prove(fill().replace(old, new), HEADERS, links)
