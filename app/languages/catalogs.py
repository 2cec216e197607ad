"""The languages that we write, and how one is chosen."""

import gettext
import io
import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

from babel.dates import format_date
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

_WISHES = 20
"""So many languages of an Accept-Language header are looked at."""
_QUALITY = re.compile(r"[01](\.[0-9]{0,3})?")


@dataclass(frozen=True, slots=True)
class Language:
    """A language: its tag (RFC 5646), what it calls itself, and which way it is written."""

    code: str
    name: str
    direction: str = "ltr"


ENGLISH = Language("en", "English")
LANGUAGES = {
    language.code: language
    for language in (
        ENGLISH,
        Language("de", "Deutsch"),
        Language("fr", "Français"),
        Language("es", "Español"),
        Language("ar", "العربية", "rtl"),
    )
}


def choose(*locales: str | None) -> Language:
    """Return the language of the first locale that we write in, or else English.

    A variant gets its language (RFC 4647 3.4): de-AT is German.
    """
    for locale in locales:
        found = LANGUAGES.get((locale or "").partition("-")[0].lower())
        if found is not None:
            return found
    return ENGLISH


@lru_cache(maxsize=256)
def accepted(header: str) -> tuple[str, ...]:
    """Return the locales of an Accept-Language header (RFC 9110 12.5.4), the best first."""
    wishes = [_wish(part) for part in header.split(",")[:_WISHES]]
    ranked = sorted((wish for wish in wishes if wish[0] > 0), key=lambda wish: -wish[0])
    return tuple(locale for _, locale in ranked)


def _wish(part: str) -> tuple[float, str]:
    locale, _, parameter = part.strip().partition(";")
    name, _, value = parameter.strip().partition("=")
    if not name:
        return 1.0, locale.strip()
    is_good = name.strip() == "q" and _QUALITY.fullmatch(value.strip())
    return (float(value) if is_good else 0.0), locale.strip()


@cache
def translations(language: Language) -> gettext.NullTranslations:
    """Return the texts of a language; what is missing in it stays English."""
    if language is ENGLISH:
        return gettext.NullTranslations()
    compiled = io.BytesIO()
    with (Path(__file__).parent / f"{language.code}.po").open("rb") as source:
        write_mo(compiled, read_po(source, locale=language.code))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def day(language: Language, moment: datetime, length: Literal["medium", "long"] = "long") -> str:
    """Return a day as it is written in a text, or where there is less room."""
    return format_date(moment, length, locale=language.code)
