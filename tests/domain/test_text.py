import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain import text

FORBIDDEN = [
    *range(0x20),
    *range(0x7F, 0xA0),
    *(0x061C, 0x200E, 0x200F),
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
    *(0xD800, 0xDABC, 0xDFFF),
]


@pytest.mark.parametrize("around", ["a{}b", "{}b", "a{}"])
def test_a_control_character_is_refused_wherever_it_stands(around: str) -> None:
    for code in FORBIDDEN:
        with pytest.raises(ValueError, match="control characters"):
            text.clean(around.format(chr(code)), 100)


@pytest.mark.parametrize(
    ("given_text", "kept"),
    [
        ("  Ann  ", "Ann"),
        ("\u00a0Ann\u3000", "Ann"),
        ("", ""),
        ("e\u0301", "\u00e9"),
        ("\u212b", "\u00c5"),
        ("Łukasz 李 👩‍👩‍👧", "Łukasz 李 👩‍👩‍👧"),
    ],
)
def test_text_is_kept_in_nfc_without_space_around_it(given_text: str, kept: str) -> None:
    assert text.clean(given_text, 100) == kept


@pytest.mark.parametrize(
    ("value", "maximum", "fits"),
    [
        ("a" * 10, 10, True),
        ("a" * 11, 10, False),
        ("e\u0301" * 10, 10, True),  # twenty characters, ten in NFC
        ("e\u0301" * 11, 10, False),
        ("\u0958" * 10, 10, False),  # NFC makes two characters of one
        ("\U0001f469" * 10, 10, True),
        (" " * 4 + "a" * 10 + " " * 4, 10, True),
    ],
)
def test_length_is_counted_in_characters_of_what_is_kept(
    value: str, maximum: int, *, fits: bool
) -> None:
    if fits:
        assert len(text.clean(value, maximum)) == maximum
    else:
        with pytest.raises(ValueError, match=f"at most {maximum} characters"):
            text.clean(value, maximum)


def test_long_text_may_have_lines_and_tabs() -> None:
    assert text.clean("One\r\n\ttwo\n", 100, multiline=True) == "One\n\ttwo"


@pytest.mark.parametrize("bad", ["a\rb", "a\x00b", "a\u2028b", "a\u202eb", "a\x1bb"])
def test_long_text_may_have_nothing_else(bad: str) -> None:
    with pytest.raises(ValueError, match="control characters"):
        text.clean(bad, 100, multiline=True)


def test_what_a_header_takes_for_an_encoded_word_is_refused_only_there() -> None:
    assert text.clean("is 1=?", 100) == "is 1=?"
    with pytest.raises(ValueError, match="=\\?"):
        text.clean("=?utf-8?q?=0d=0aBcc:_x?=", 100, header=True)


@settings(deadline=None)
@given(st.text(max_size=60), st.booleans())
def test_what_is_clean_stays_as_it_is(value: str, multiline: bool) -> None:  # noqa: FBT001
    try:
        once = text.clean(value, 60, multiline=multiline)
    except ValueError:
        return
    assert text.clean(once, 60, multiline=multiline) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once.encode().decode() == once


@pytest.mark.parametrize("name", ["Ann", "Ann-Marie O'Neill", "Dr. w.w. Smith", "李小龍"])
def test_a_name_is_a_name(name: str) -> None:
    assert text.person_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["see http://evil.example", "ftp://x", "WWW.evil.example", "a www.b", "=?x", "a" * 101, "a\nb"],
)
def test_a_name_with_a_link_or_a_header_in_it_is_advertising(name: str) -> None:
    with pytest.raises(ValueError, match=r"link|=\?|at most|control"):
        text.person_name(name)


@pytest.mark.parametrize("tag", ["en", "pt-BR", "zh-Hant-TW", "sr-Latn-RS-x-a", "gsw"])
def test_a_language_tag_is_kept_as_given(tag: str) -> None:
    assert text.locale(f" {tag} ") == tag


@pytest.mark.parametrize(
    "tag", ["", "e", "english9", "en_US", "en-", "en-toolongtag", "en US", "é"]
)
def test_what_is_no_language_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="language tag"):
        text.locale(tag)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://Example.org/blog/1", "https://Example.org/blog/1"),
        ("http://example.org", "http://example.org"),
        ("https://example.org/a?email=ann@example.org#me", "https://example.org/a"),
        ("https://ann:secret@example.org:8443/a", "https://example.org:8443/a"),
        ("https://[::1]/a", "https://[::1]/a"),
        (" https://example.org/ ", "https://example.org/"),
        ("https://example.org/" + "a" * 2028, "https://example.org/" + "a" * 2028),
        ("https://example.org/" + "a" * 2029, None),
        ("https://[::1/a", None),
        ("https:///a", None),
        ("//example.org/a", None),
        ("/a", None),
        ("javascript:alert(1)", None),
        ("file:///etc/passwd", None),
        ("data:text/html,x", None),
        ("https://example.org/\x00", None),
        ("https://example.org/\r\nSet-Cookie: a", None),
        ("", None),
        (None, None),
    ],
)
def test_a_page_is_kept_without_what_may_be_personal(url: str | None, kept: str | None) -> None:
    assert text.page_url(url) == kept


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("Mozilla/5.0 (X11)", "Mozilla/5.0 (X11)"),
        ("a" * 600, "a" * 512),
        ("a\x00b\x1b\u202e\ud800c", "abc"),
        ("\x00", None),
        ("", None),
        (None, None),
    ],
)
def test_a_user_agent_is_cut_and_cleaned_and_never_refused(
    sent: str | None, kept: str | None
) -> None:
    assert text.user_agent(sent) == kept
