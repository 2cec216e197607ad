import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from app.languages import catalogs, sentences
from app.languages.catalogs import ENGLISH, LANGUAGES, accepted, choose, translations

APP = Path(catalogs.__file__).parents[1]
TRANSLATED = sorted(set(LANGUAGES) - {"en"})
PLACES = re.compile(r"%\((\w+)\)s")


def texts() -> set[str]:
    """Return every text that somebody may read, as `pybabel extract` finds them."""
    with (APP / "languages" / "babel.cfg").open() as config:
        methods, options = parse_mapping_cfg(config)  # type: ignore[no-untyped-call]
    found = extract_from_dir(APP, methods, options, keywords={"_": None, "marked": None})
    return {message for _, _, message, _, _ in found if isinstance(message, str)}


def catalogue(code: str) -> dict[str, str]:
    with (APP / "languages" / f"{code}.po").open("rb") as file:
        return {str(m.id): str(m.string) for m in read_po(file) if m.id and not m.fuzzy}


def listed() -> Iterator[str]:
    yield from (*sentences.TITLES, *sentences.DETAILS, *sentences.FAULTS, *sentences.LABELS)


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_text_is_there_in_every_language_and_no_other(code: str) -> None:
    found = catalogue(code)
    assert len(texts()) > 100
    assert set(found) == texts()
    assert not [text for text, translated in found.items() if not translated.strip()]


@pytest.mark.parametrize("code", TRANSLATED)
def test_a_translation_has_the_places_of_its_text(code: str) -> None:
    for text, translated in catalogue(code).items():
        assert sorted(PLACES.findall(translated)) == sorted(PLACES.findall(text)), text
        assert "%" not in PLACES.sub("", translated), text
        assert translated.endswith(":") or not text.endswith(":"), text


@pytest.mark.parametrize("code", TRANSLATED)
def test_a_catalogue_is_compiled_and_what_it_lacks_stays_english(code: str) -> None:
    gettext = translations(LANGUAGES[code]).gettext
    assert gettext("Unsubscribe") == catalogue(code)["Unsubscribe"] != "Unsubscribe"
    assert gettext("A text that nobody has translated") == "A text that nobody has translated"


def test_each_listed_sentence_is_still_said_somewhere() -> None:
    sources = [path for path in APP.rglob("*.py") if path.parent.name != "languages"]
    said = "".join(path.read_text() for path in sources)
    # A sentence that is put together from parts is looked for by its first words.
    forgotten = [s for s in listed() if s[:16] not in said and not s.startswith("Use at most")]
    assert forgotten == []


@pytest.mark.parametrize(
    ("locales", "code"),
    [
        (("de",), "de"),
        (("de-AT", "en"), "de"),
        (("AR-eg",), "ar"),
        (("it", "fr-CA", "es"), "fr"),
        (("it",), "en"),
        ((None, "", "es"), "es"),
        ((), "en"),
        (("den",), "en"),
    ],
)
def test_the_first_locale_that_we_write_in_counts(
    locales: tuple[str | None, ...], code: str
) -> None:
    assert choose(*locales).code == code


@pytest.mark.parametrize(
    ("header", "locales"),
    [
        ("", ()),
        ("de", ("de",)),
        ("fr-CH, fr;q=0.9, en;q=0.8, *;q=0.5", ("fr-CH", "fr", "en", "*")),
        ("en;q=0.2,de;q=0.7, es", ("es", "de", "en")),
        ("de;q=0, en", ("en",)),
        ("de;q=nan, fr;q=1e9, es;q=-1, ar;x=1, en;q=0.5", ("en",)),
        (",".join(f"x{n}" for n in range(500)), tuple(f"x{n}" for n in range(20))),
    ],
)
def test_what_a_browser_wishes_is_read_best_first(header: str, locales: tuple[str, ...]) -> None:
    assert tuple(filter(None, accepted(header))) == locales


def test_arabic_is_written_from_the_right() -> None:
    assert {language.code for language in LANGUAGES.values() if language.direction == "rtl"} == {
        "ar"
    }
    assert ENGLISH.direction == "ltr"
