from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.errors import Invalid, Unreadable
from app.mail.feedback import readings
from app.mail.feedback.readings import Reading


def fault(error: pytest.ExceptionInfo[Invalid]) -> str:
    return error.value.faults[0].pointer


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe{}",
        b'{"a": "\xe9"}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 5_000 + b"}",
    ],
)
def test_what_is_no_json_object_in_utf_8_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        readings.document(body)


@pytest.mark.parametrize("value", [True, 1.5, [], {}, "a\x00b", "a\nb", "\ud800", "x" * 256])
def test_a_text_is_short_and_plain(value: object) -> None:
    with pytest.raises(Invalid) as error:
        Reading({"a": value}, "/b").text("a")
    assert fault(error) == "/b/a"


def test_a_text_may_be_a_number_or_missing() -> None:
    reading = Reading({"a": 7, "b": None, "c": " d "})
    assert [reading.text(name) for name in "abcx"] == ["7", "", "d", ""]
    with pytest.raises(Invalid):
        reading.needed("b")


@pytest.mark.parametrize(("name", "value"), [("part", []), ("part", 1), ("part", False)])
@pytest.mark.parametrize("outer", ["", "/x"])
def test_an_object_is_an_object(name: str, value: object, outer: str) -> None:
    with pytest.raises(Invalid) as error:
        getattr(Reading({"a": value}, outer), name)("a")
    assert fault(error) == f"{outer}/a"


def test_lists_are_read_item_by_item() -> None:
    reading = Reading({"a": [{"b": 1}, {"b": []}], "c": ["d", 5], "e": [None], "f": "no", "g": [1]})
    assert reading.parts("a")[0].text("b") == "1"
    with pytest.raises(Invalid) as error:
        reading.parts("a")[1].text("b")
    assert fault(error) == "/a/1/b"
    assert reading.texts("c") == ["d", "5"]
    assert (reading.parts("x"), reading.texts("x")) == ([], [])
    with pytest.raises(Invalid) as error:
        reading.texts("e")
    assert fault(error) == "/e/0"
    for read in (reading.parts, reading.texts):
        with pytest.raises(Invalid):
            read("f")
    with pytest.raises(Invalid):
        reading.parts("g")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("2026-11-05T16:33:54.9070263Z", datetime(2026, 11, 5, 16, 33, 54, 907026, UTC)),
        ("2026-11-05T16:33:54-05:00", datetime(2026, 11, 5, 21, 33, 54, 0, UTC)),
        ("2026-11-05T16:33:54", datetime(2026, 11, 5, 16, 33, 54, 0, UTC)),
        (1_800_000_000, datetime(2027, 1, 15, 8, 0, tzinfo=UTC)),
        (1_800_000_000.5, datetime(2027, 1, 15, 8, 0, 0, 500_000, UTC)),
    ],
)
def test_a_time_is_in_utc(value: object, found: datetime) -> None:
    assert Reading({"at": value}).moment("at") == found


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "yesterday",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        1e300,
        float("nan"),
        10**20,
        [],
    ],
)
def test_what_is_no_time_is_invalid(value: object) -> None:
    with pytest.raises(Invalid):
        Reading({"at": value}).moment("at")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("42", 42),
        (["42", "43"], 42),
        ("9" * 18, int("9" * 18)),
        ("9" * 19, None),
        ("0", None),
        ("-1", None),
        ("x", None),
        ("٤٢", None),
        (42, None),
        ([], None),
        ([7], None),
        ({}, None),
        (None, None),
    ],
)
def test_our_number_comes_back_as_we_sent_it_or_is_not_ours(value: Any, found: object) -> None:  # noqa: ANN401
    assert Reading({"outbox": value}).our_number("outbox") == found


def test_only_a_plain_word_is_fit_to_be_kept() -> None:
    reading = Reading({"a": "HardBounce", "b": "ann@example.org", "c": "two words", "d": 1})
    assert [reading.word(name) for name in "abcdx"] == ["HardBounce", "", "", "", ""]
