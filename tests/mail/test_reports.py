from datetime import UTC, datetime
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.feedback import Happened
from app.mail.feedback.reports import Fate, Returned, read
from app.mail.message import parse
from tests.mail import returned
from tests.mail.returned import ORIGINAL, complaint, exchange, exim, postfix

MESSAGE_ID = "<7.20261122213005123456@news.example.org>"
UNSUBSCRIBE = "<https://news.example.org/unsubscribe/token>"


def fate(content: bytes) -> Fate:
    [found] = read(content).fates
    return found


@pytest.mark.parametrize(
    "content",
    [postfix(), exim(), exchange(), complaint(), returned.outlook_complaint()],
    ids=["postfix", "exim", "exchange", "yahoo", "outlook"],
)
def test_a_report_in_anybodys_style_names_the_mail_that_it_is_about(content: bytes) -> None:
    assert not parse(content).defects, "the sample itself is sound"
    found = read(content)
    assert found.fates
    assert (found.message_id, found.unsubscribe) == (MESSAGE_ID, UNSUBSCRIBE)
    assert found.at is not None
    assert found.at.date() == datetime(2026, 11, 24, tzinfo=UTC).date()
    assert read(content.replace(b"\r\n", b"\n")).fates == found.fates


@pytest.mark.parametrize(
    "content", [postfix(), exim(), exchange()], ids=["postfix", "exim", "exchange"]
)
def test_a_mailbox_that_does_not_exist_is_a_hard_bounce(content: bytes) -> None:
    assert fate(content).kind is Happened.HARD_BOUNCE


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((code, Happened.HARD_BOUNCE) for code in ("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10")),
        ("5.2.1", Happened.HARD_BOUNCE),
        ("5.1.1 (bad destination mailbox address)", Happened.HARD_BOUNCE),
        ("5.2.2", Happened.SOFT_BOUNCE),
        ("4.4.7", Happened.SOFT_BOUNCE),
        ("4.2.2", Happened.SOFT_BOUNCE),
        ("4.7.1", Happened.FAILED),
        ("4.7.28", Happened.FAILED),
        ("4.6.1", Happened.FAILED),
        ("5.7.1", Happened.FAILED),
        ("5.7.26", Happened.FAILED),
        ("5.7.515", Happened.FAILED),
        ("5.1.8", Happened.FAILED),
        ("5.3.4", Happened.FAILED),
        ("5.4.1", Happened.FAILED),
        ("5.6.0", Happened.FAILED),
        ("5.1.100", Happened.FAILED),
        ("5.1.1000", Happened.FAILED),
        ("2.0.0", Happened.UNKNOWN),
        ("5.0.0", Happened.FAILED),
        ("", Happened.FAILED),
        ("nonsense", Happened.FAILED),
    ],
)
def test_a_failure_is_judged_by_its_status(status: str, kind: Happened) -> None:
    assert fate(postfix(status, "x-unix; 550 5.1.1 no mail is read here")).kind is kind


@pytest.mark.parametrize(
    ("diagnostic", "expected"),
    [
        ("smtp; 550 5.1.1 <ann@example.net> unknown", Fate(Happened.HARD_BOUNCE, "550 5.1.1")),
        ("SMTP;550-5.1.1 The account does", Fate(Happened.HARD_BOUNCE, "550 5.1.1")),
        ("smtp; 550 5.7.26 not allowed", Fate(Happened.FAILED, "550 5.7.26")),
        ("smtp; 452 4.2.2 over quota", Fate(Happened.SOFT_BOUNCE, "452 4.2.2")),
        ("smtp; 554 5.6.0 bad content", Fate(Happened.FAILED, "554 5.6.0")),
        ("smtp; 550 no such user, or spam?", Fate(Happened.SOFT_BOUNCE, "550")),
        ("smtp; nobody home 5.1.1", Fate(Happened.FAILED, "5.0.0")),
        ("smtp; 5501 5.1.1", Fate(Happened.FAILED, "5.0.0")),
        ("x-local; 550 5.1.1", Fate(Happened.FAILED, "5.0.0")),
    ],
)
def test_a_status_that_says_nothing_lets_the_reply_speak(diagnostic: str, expected: Fate) -> None:
    assert fate(exim(diagnostic)) == expected


def test_a_status_that_says_something_is_not_overruled_by_the_reply() -> None:
    assert fate(postfix("5.7.1", "smtp; 550 5.1.1 user unknown")) == Fate(Happened.FAILED, "5.7.1")


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("failed", Happened.HARD_BOUNCE),
        ("Failed (permanently)", Happened.HARD_BOUNCE),
        ("delayed", Happened.DEFERRED),
        ("delivered", Happened.DELIVERED),
        ("Relayed", Happened.ACCEPTED),
        ("expanded", Happened.ACCEPTED),
        ("lost", Happened.UNKNOWN),
        ("!", Happened.UNKNOWN),
    ],
)
def test_what_happened_is_told_by_the_action(action: str, kind: Happened) -> None:
    assert fate(postfix(action=action)).kind is kind


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("abuse", Happened.COMPLAINT),
        ("Fraud", Happened.COMPLAINT),
        ("virus", Happened.COMPLAINT),
        ("opt-out", Happened.UNSUBSCRIBED),
        ("not-spam", Happened.UNKNOWN),
        ("auth-failure", Happened.UNKNOWN),
        ("ann@example.net", Happened.UNKNOWN),
        ("", Happened.UNKNOWN),
    ],
)
def test_a_complaint_is_told_by_its_type(word: str, kind: Happened) -> None:
    found = fate(complaint(word))
    assert found.kind is kind
    assert "@" not in found.detail


def test_each_recipient_of_a_bounce_has_a_fate() -> None:
    more = b"\r\n\r\nFinal-Recipient: rfc822; bob@example.net\r\nAction: delivered\r\n\r\n--"
    found = read(
        postfix().replace(b"\r\n\r\n--=_7.A/report?1\r\nContent-Type: message/rfc822", more)
    )
    assert [f.kind for f in found.fates] == [Happened.HARD_BOUNCE, Happened.DELIVERED]


def test_the_addresses_that_a_return_path_may_stand_in_are_kept() -> None:
    original = ORIGINAL.replace(b"insights@example.org>", b"b+1.x@example.org>", 1)
    extra = "Original-Mail-From: <b+2.x@example.org>\r\n"
    found = read(complaint(to="b+3.x@example.org", original=original, extra=extra)).addresses
    assert found == ("b+3.x@example.org", "<b+2.x@example.org>", "<b+1.x@example.org>")
    assert set(read(postfix(to="b+4.x@example.org")).addresses) >= {"b+4.x@example.org"}


def test_a_part_may_be_encoded() -> None:
    inner = postfix().partition(b"Content-Type: message/delivery-status\r\n\r\n")
    block, _, rest = inner[2].partition(b"\r\n--")
    mail = EmailMessage()
    mail.set_content(block, "application", "octet-stream", cte="base64")
    head = inner[0] + b"Content-Type: message/delivery-status\r\nContent-Transfer-Encoding: "
    encoded = mail.get_payload(decode=False)
    assert isinstance(encoded, str)
    for name, body in (("base64", encoded.encode()), ("quoted-printable", block)):
        content = head + name.encode() + b"\r\n\r\n" + body + b"\r\n--" + rest
        assert read(content).fates == read(postfix()).fates
    assert read(head + b"base64\r\n\r\n=!x\r\n--" + rest).fates == ()


def test_a_report_that_was_cut_short_is_read_as_far_as_it_goes() -> None:
    content = postfix(original=ORIGINAL + b"x" * 100_000)
    assert read(content[:5_000]) == read(content)


def test_the_same_mail_has_the_same_key_and_no_other_has() -> None:
    assert read(postfix()).key == read(postfix("4.4.7")).key
    assert read(postfix(number=2)).key != read(postfix()).key
    bare = postfix().replace(b"Message-Id: <1.4ABC@mail.example.org>\r\n", b"")
    assert read(bare).key == read(bare).key != read(bare + b" ").key


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n\r\n",
        b"\0\xff\xfe" * 1000,
        returned.out_of_office(),
        b"Content-Type: multipart/report; report-type=delivery-status\r\n\r\nno boundary",
        b'Content-Type: multipart/report; boundary=""\r\n\r\n----',
        postfix().replace(b"multipart/report", b"multipart/mixed"),
        postfix().replace(b"Action: ", b"Reaction: "),
        postfix().replace(b"message/delivery-status", b"message/disposition-notification"),
        postfix().replace(b"message/delivery-status", b"text/plain"),
    ],
    ids=[
        *("nothing", "empty", "binary", "out of office", "no boundary", "empty boundary"),
        *("mixed", "no action", "disposition", "plain"),
    ],
)
def test_what_is_no_report_says_nothing(content: bytes) -> None:
    found = read(content)
    assert found == Returned(found.key, found.at)


def test_reports_inside_other_mail_are_not_looked_for() -> None:
    nested = b"Content-Type: message/rfc822\r\n\r\n" + postfix()
    for level in range(2_000):
        line = f"Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n".encode()
        nested = line + nested
    assert read(nested).fates == ()


@pytest.mark.parametrize(
    "content",
    [
        b"Content-Type: multipart/report; boundary=b\r\n\r\n" + b"--b\r\n" * 200_000,
        b"Subject: " + b" " * 1_000_000 + b"\r\n\r\n",
        b"a" * 1_000_000,
        b"a: b\r\n" * 150_000,
        b"a: b\r\n" + b" c\r\n" * 250_000,
        b"Content-Type: multipart/report" + b"; boundary " * 90_000 + b"\r\n\r\n",
        postfix().replace(b"Action: ", b"x: y\r\n\r\n" * 100_000 + b"Action: "),
        postfix(status="5." * 300_000),
        postfix(diagnostic="smtp;" + " " * 900_000),
    ],
    ids=["parts", "spaces", "line", "fields", "folds", "parameters", "groups", "code", "reply"],
)
def test_a_mail_made_to_be_slow_is_read_all_the_same(content: bytes) -> None:
    found = read(content)
    assert len(found.fates) <= 20


@pytest.mark.parametrize(
    "date",
    ["", "yesterday", "Tue, 99 Nov 2026 10:00:00 +0100", "Tue, 24 Nov 2026 10:00:00 +9999", ","],
)
def test_a_date_that_is_none_is_left_out(date: str) -> None:
    content = postfix().replace(b"Tue, 24 Nov 2026 10:00:00 +0100 (CET)", date.encode())
    assert read(content).at is None
    assert read(content).fates


tokens = st.sampled_from(
    [
        *(b"Content-Type: multipart/report; boundary=b\r\n", b"--b\r\n", b"--b--", b"\r\n", b"\n"),
        *(b"Content-Type: message/delivery-status\r\n", b"Content-Type: message/rfc822\r\n"),
        *(b"Action: failed\r\n", b"Status: 5.1.1\r\n", b"Date: ", b"Message-ID: ", b" ", b"\t"),
        *(b"Content-Transfer-Encoding: base64\r\n", b"Diagnostic-Code: smtp; 550 ", b"\xff", b"="),
        *(b"Content-Type: message/feedback-report\r\n", b"Feedback-Type: abuse\r\n", b":", b";"),
    ]
)


@given(st.lists(tokens | st.binary(max_size=8), max_size=60).map(b"".join))
def test_whatever_the_bytes_reading_ends(content: bytes) -> None:
    assert read(content) == read(content)


@given(st.integers(0, 1500), st.binary(max_size=6))
def test_a_report_that_was_damaged_is_read_or_ignored(place: int, damage: bytes) -> None:
    content = postfix()
    assert len(read(content[:place] + damage + content[place + len(damage) :]).fates) <= 2
