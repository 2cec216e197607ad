"""Mail in each language: both parts, the whole house of headers, and nothing left in English."""

import pytest

from app.languages.catalogs import ENGLISH, LANGUAGES, Language
from app.mail.compose import compose
from app.mail.message import parse
from tests.mail.letters import ACTION, HEADERS, KINDS, LETTER, LETTERHEAD, UNSUBSCRIBE, bodies

OTHERS = [language for language in LANGUAGES.values() if language is not ENGLISH]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", LANGUAGES.values(), ids=lambda language: language.code)
def test_a_mail_is_whole_and_light_in_every_language(kind: str, language: Language) -> None:
    content = compose(kind, LETTERHEAD, language).fill(LETTER).content
    assert parse(content).keys() == HEADERS
    assert len(content) < 30_000
    text, rich = bodies(content)
    links = [UNSUBSCRIBE, *([ACTION] if kind == "confirm" else [])]
    assert all(link in text.split("\n") and f'href="{link}"' in rich for link in links)
    assert f'<html lang="{language.code}" dir="{language.direction}">' in rich


@pytest.mark.parametrize("kind", KINDS)
def test_no_sentence_of_ours_stays_in_english(kind: str) -> None:
    def sentences(index: int, content: bytes) -> set[str]:
        return {line.strip() for line in bodies(content)[index].split("\n") if " " in line.strip()}

    english = compose(kind, LETTERHEAD).fill(LETTER).content
    theirs = {LETTERHEAD.pitch, LETTERHEAD.promise, *(LETTERHEAD.postal_address or "").split("\n")}
    for language in OTHERS:
        other = compose(kind, LETTERHEAD, language).fill(LETTER).content
        assert parse(other)["Subject"] != parse(english)["Subject"]
        assert sentences(0, other) & sentences(0, english) <= theirs


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=lambda language: language.code)
def test_a_link_on_request_belongs_to_no_list(language: Language) -> None:
    mail = compose("preferences_link", LETTERHEAD, language).fill(LETTER)
    assert parse(mail.content).keys() == [name for name in HEADERS if not name.startswith("List-")]
    text, rich = bodies(mail.content)
    assert ACTION in text.split("\n")
    assert f'href="{ACTION}"' in rich
    assert UNSUBSCRIBE not in text + rich
