"""Pages speak the reader's language: the subscriber's own, the browser's, or the newsletter's."""

import httpx
import pytest

from tests.conftest import Make, SignUp
from tests.web.answers import html
from tests.web.conftest import Paths

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]

FORM = "/newsletters/insights"
HEADINGS = {
    "en": "You are unsubscribed",
    "de": "Sie sind abgemeldet",
    "fr": "Vous êtes désabonné·e",
    "es": "Se ha dado de baja",
    "ar": "تم إلغاء اشتراكك",
}


def spoken(code: str) -> dict[str, str]:
    return {"Accept-Language": code}


@pytest.mark.parametrize(("code", "direction"), [("fr-CH, en;q=0.5", "ltr"), ("ar", "rtl")])
async def test_a_visitor_reads_what_the_browser_asks_for(
    client: httpx.AsyncClient, code: str, direction: str
) -> None:
    shown = await client.get(FORM, headers=spoken(code))
    assert f'<html lang="{code[:2]}" dir="{direction}">' in html(shown, 200)
    assert shown.headers["content-language"] == code[:2]
    assert "Accept-Language" in shown.headers["vary"]


async def test_the_newsletter_decides_where_the_browser_asks_for_nothing_that_we_have(
    client: httpx.AsyncClient, newsletter: Make
) -> None:
    await newsletter(slug="hafen", name="Hafen", locale="de-AT")
    page = html(await client.get("/newsletters/hafen", headers=spoken("it, ja")), 200)
    assert '<html lang="de"' in page
    assert "Anmelden" in page
    assert '<html lang="es"' in html(
        await client.get("/newsletters/hafen", headers=spoken("es")), 200
    )


async def test_errors_are_told_in_the_readers_language(client: httpx.AsyncClient) -> None:
    lost = await client.get("/confirm/nonsense", headers=spoken("de"))
    assert "Das ist kein vollständiger Link von uns." in html(lost, 404)
    form = {"newsletter": "insights", "email": "nobody", "name": "www.a.example"}
    wrong = await client.post("/v1/subscriptions", data=form, headers=spoken("de"))
    page = html(wrong, 422)
    assert page.count("Geben Sie eine gültige E-Mail-Adresse ein") == 2
    assert page.count("Ein Name darf keinen Link enthalten.") == 2
    assert page.count("Setzen Sie das Häkchen, um zuzustimmen") == 2


async def test_the_hosted_form_asks_for_mail_in_the_language_that_it_shows(
    client: httpx.AsyncClient,
) -> None:
    shown = await client.get(FORM, headers=spoken("fr"))
    assert '<input type="hidden" name="locale" value="fr">' in html(shown, 200)


@pytest.mark.parametrize("code", HEADINGS)
async def test_a_subscriber_is_spoken_to_in_the_language_of_the_sign_up(
    client: httpx.AsyncClient, sign_up: SignUp, paths: Paths, code: str
) -> None:
    await sign_up(locale=f"{code}-XX")
    links = await paths()
    other = spoken("es" if code == "en" else "en")
    for path in links.values():
        assert f'<html lang="{code}"' in html(await client.get(path, headers=other), 200)
    assert f'<html lang="{code}"' in html(await client.post(links["confirm"], headers=other), 200)
    left = html(await client.post(links["unsubscribe"], headers=other), 200)
    assert HEADINGS[code] in left
    again = await client.post(links["confirm"], headers=other)
    assert f'<html lang="{code}"' in html(again, 410)


async def test_a_name_in_a_sentence_stays_text(
    client: httpx.AsyncClient, newsletter: Make, sign_up: SignUp, paths: Paths
) -> None:
    await newsletter(slug="odd", name="<b>%(name)s</b> & co %s")
    await sign_up(newsletter="odd", locale="de")
    page = html(await client.get((await paths())["unsubscribe"]), 200)
    shown = "<strong><bdi>&lt;b&gt;%(name)s&lt;/b&gt; &amp; co %s</bdi></strong>"
    assert f"Sie erhalten keine E-Mails von {shown} mehr." in page
