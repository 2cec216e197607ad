import html
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.headerregistry import AddressHeader
from time import perf_counter

import pytest

from app.mail.compose import ComposeError, compose
from app.mail.message import parse
from tests.mail.letters import (
    ACTION,
    AT,
    HEADERS,
    KINDS,
    LETTER,
    LETTERHEAD,
    UNSUBSCRIBE,
    bodies,
    fill,
)

NAMES = [
    "Käse, Wein & Brot",
    "نشرة الأخبار الأسبوعية",
    "Rocket \N{ROCKET} news 👩‍👩‍👧",
    'Quoted "co" \\ (Ltd.), a: b; <x@y.z>',
    "x" * 100,
    "é" * 100,
    "漢字" * 50,
    "many short words " * 5 + "end",
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_mail_has_exactly_its_headers_in_order(kind: str) -> None:
    assert parse(fill(kind)).keys() == HEADERS


def test_reply_to_is_left_out_if_there_is_none() -> None:
    assert parse(fill(reply_to=None)).keys() == [name for name in HEADERS if name != "Reply-To"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_line_is_short_and_ends_with_crlf(kind: str) -> None:
    content = fill(kind, name="é" * 100)
    lines = content.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert max(map(len, lines)) <= 998
    body = content.partition(b"\r\n\r\n")[2].split(b"\r\n")
    assert max(map(len, body)) <= 76


def test_the_headers_say_who_when_and_what() -> None:
    mail = parse(fill())
    assert mail["From"] == "Harbour <news@example.org>"
    assert mail["To"] == "Reader@Example.org"
    assert mail["Reply-To"] == "hello@example.org"
    assert mail["Subject"] == "Please confirm your subscription to Harbour Insights"
    assert mail["Date"].datetime == AT.replace(microsecond=0)
    assert mail["Message-ID"] == "<42.20261122213005123456@news.example.org>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Id"] == "<insights.news.example.org>"


def test_list_unsubscribe_is_one_raw_line_however_long() -> None:
    assert len(UNSUBSCRIBE) == 300
    lines = fill().split(b"\r\n")
    assert f"List-Unsubscribe: <{UNSUBSCRIBE}>".encode() in lines
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in lines


def test_list_unsubscribe_stays_raw_when_another_program_part_writes_the_mail_again() -> None:
    again = parse(fill()).as_bytes()
    assert f"List-Unsubscribe: <{UNSUBSCRIBE}>\r\n".encode() in again


def test_other_long_headers_are_folded_as_usual_when_written_again() -> None:
    mail = parse(fill())
    del mail["Subject"]
    mail["Subject"] = "é" * 200
    mail["List-Id"] = "<ü.example.org>"
    assert max(map(len, mail.as_bytes().partition(b"Date:")[0].split(b"\r\n"))) <= 998
    assert parse(mail.as_bytes())["Subject"] == "é" * 200


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "url",
    [
        UNSUBSCRIBE,
        "https://example.org/?token=a=b&c='d'=" + "=" * 100,
        "https://example.org/" + "." * 200,
        *("https://example.org/" + "=" * n for n in range(40, 80)),
        *("https://example.org/" + "x" * n for n in range(40, 80)),
    ],
)
def test_both_bodies_decode_to_the_same_links(kind: str, url: str) -> None:
    text, rich = bodies(fill(kind, replace(LETTER, unsubscribe_url=url, action_url=url + "!")))
    assert url in text.split("\n")
    assert f'href="{html.escape(url)}"' in rich.replace("&#39;", "&#x27;")
    assert (url + "!" in text.split("\n")) == (kind == "confirm")


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_letter_gives_the_same_bytes(kind: str) -> None:
    first = fill(kind)
    compose.cache_clear()
    assert fill(kind) == first


def test_a_time_of_another_zone_gives_the_same_bytes() -> None:
    elsewhere = AT.astimezone(timezone(timedelta(hours=5)))
    assert fill(letter=replace(LETTER, created_at=elsewhere)) == fill()


def test_the_envelope_is_the_newsletter_and_the_reader() -> None:
    sent = compose("welcome", LETTERHEAD).fill(LETTER)
    assert (sent.id, sent.created_at) == (42, AT)
    assert (sent.sender, sent.recipient) == ("news@example.org", "Reader@Example.org")


@pytest.mark.parametrize("name", NAMES)
def test_any_name_survives_in_subject_sender_and_bodies(name: str) -> None:
    content = fill("welcome", name=name, from_name=None)
    mail = parse(content)
    assert mail["Subject"] == f"Welcome to {name}"
    sender = mail["From"]
    assert isinstance(sender, AddressHeader)
    [address] = sender.addresses
    assert address.addr_spec == "news@example.org"
    assert address.display_name.replace(" ", "") == name.replace(" ", "")
    assert content.isascii()
    text, rich = bodies(content)
    assert name in text
    assert html.escape(name) in rich.replace("&#34;", "&quot;")


@pytest.mark.parametrize("name", NAMES)
def test_encoded_words_are_no_longer_than_rfc_2047_allows(name: str) -> None:
    head = fill(name=name, from_name=name).partition(b"To:")[0]
    words = [word for word in head.split() if word.startswith(b"=?")]
    assert all(len(word) <= 75 for word in words)
    for word in words:
        parse(b"Subject: " + word + b"\r\n\r\n")["Subject"].encode("utf-8")


def test_a_kind_with_a_button_needs_its_link() -> None:
    with pytest.raises(ComposeError, match="action_url"):
        fill("confirm", replace(LETTER, action_url=None))
    assert ACTION not in bodies(fill("welcome", replace(LETTER, action_url=None)))[0]


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ComposeError, match="time zone"):
        fill(letter=replace(LETTER, created_at=datetime(2026, 1, 1)))  # noqa: DTZ001


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ComposeError, match="kind"):
        fill("../confirm")


def test_an_internationalised_domain_becomes_ascii() -> None:
    sent = compose("confirm", LETTERHEAD).fill(replace(LETTER, recipient="Reader@bücher.example"))
    assert sent.recipient == "Reader@xn--bcher-kva.example"
    assert sent.content.isascii()
    assert b"\r\nTo: Reader@xn--bcher-kva.example\r\n" in sent.content


def test_an_internationalised_local_part_stays_as_it_is() -> None:
    sent = compose("confirm", LETTERHEAD).fill(replace(LETTER, recipient="jürgen@bücher.example"))
    assert sent.recipient == "jürgen@xn--bcher-kva.example"
    assert "\r\nTo: jürgen@xn--bcher-kva.example\r\n".encode() in sent.content


def test_a_sender_and_a_host_may_be_internationalised_too() -> None:
    letterhead = replace(LETTERHEAD, from_address="news@bücher.example", host="bücher.example")
    sent = compose("confirm", letterhead).fill(LETTER)
    assert sent.sender == "news@xn--bcher-kva.example"
    assert parse(sent.content)["List-Id"] == "<insights.xn--bcher-kva.example>"


def test_text_from_outside_is_escaped_in_html() -> None:
    text, rich = bodies(fill("welcome", pitch="1 < 2 & <script>alert(1)</script>"))
    assert "<script>" in text
    assert "<script>" not in rich


def test_empty_texts_leave_no_gap() -> None:
    for kind in KINDS:
        text, rich = bodies(fill(kind, pitch="", promise="", postal_address=None))
        assert "\n\n\n" not in text
        assert '"></p>' not in rich


@pytest.mark.parametrize("kind", KINDS)
def test_html_is_small_and_loads_nothing(kind: str) -> None:
    rich = bodies(fill(kind))[1]
    assert len(rich) < 30_000
    assert not any(word in rich for word in ("<img", "src=", "url(", "@import", "<script", "<link"))


@pytest.mark.parametrize("kind", KINDS)
def test_bodies_never_repeat_the_address(kind: str) -> None:
    assert not any("reader@" in body.lower() for body in bodies(fill(kind)))


def test_texts_of_several_lines_keep_their_lines() -> None:
    text, rich = bodies(fill())
    assert "Harbour Media Ltd\n12 Quay Street\nBristol" in text
    assert "Harbour Media Ltd<br>12 Quay Street<br>Bristol" in rich


def test_filling_a_template_is_a_matter_of_microseconds() -> None:
    template = compose("confirm", LETTERHEAD)
    start = perf_counter()
    for _ in range(1_000):
        template.fill(LETTER)
    assert perf_counter() - start < 0.5
