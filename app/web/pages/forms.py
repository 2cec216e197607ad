"""The script that puts a newsletter's form on other people's pages."""

import json
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from typing import Any

from fastapi import APIRouter, Request, Response

from app.languages import sentences
from app.languages.catalogs import Language, translations
from app.services import forms
from app.services.forms import Form
from app.web import rendering
from app.web.deps import AnySite
from app.web.fields import PathSegment

router = APIRouter(tags=["public"])

MEDIA_TYPE = "text/javascript; charset=utf-8"
SLOT = "__NEWSLETTER__"
"""Where the newsletter's data stand in the script."""

_PAGE: dict[str, Any] = {"content": {"text/html": {"schema": {"type": "string"}}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A script",
        "content": {"text/javascript": {"schema": {"type": "string"}}},
    },
    304: {"description": "The script that you have is still true"},
    404: {"description": "No such newsletter", **_PAGE},
    503: {"description": "Not open yet, or away", **_PAGE},
}
_CACHED = {
    "Cache-Control": "public, max-age=300, must-revalidate",
    "Vary": "Accept-Language",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


@router.get("/newsletters/{slug}/form.js", response_class=Response, responses=_ANSWERS)
async def script(
    slug: PathSegment, request: Request, site: AnySite, lang: str | None = None
) -> Response:
    """Return the form as a script, in the language that `lang` names or the browser asks for."""
    catalog = await site.catalog()
    form = forms.describe(catalog, slug, site.house.base_url)
    language = rendering.language_of(request, catalog.newsletters[slug], lang)
    body = _source().replace(SLOT, _as_script(_data(form, language, site.house.base_url))).encode()
    tag = f'"{sha256(body).hexdigest()[:24]}"'
    headers = {**_CACHED, "ETag": tag, "Content-Language": language.code}
    if _is_known(tag, request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=MEDIA_TYPE)


@cache
def _source() -> str:
    return (rendering.STATIC / "form.js").read_text()


def _is_known(tag: str, header: str) -> bool:
    """Tell whether If-None-Match names the tag (RFC 9110 13.1.2), compared weakly."""
    return not {"*", tag}.isdisjoint(t.strip().removeprefix("W/") for t in header.split(","))


def _as_script(data: dict[str, Any]) -> str:
    """Return the data as an expression: ASCII, and nothing in it ends or comments out a script."""
    return json.dumps(data).replace("<", "\\u003c")


def _data(form: Form, language: Language, base_url: str) -> dict[str, Any]:
    page = f"{base_url}/newsletters/{form.newsletter}"
    return {
        **asdict(form),
        "form": f"{base_url}/v1/newsletters/{form.newsletter}/form",
        "page": page,
        "language": language.code,
        "direction": language.direction,
        "texts": _texts(form.name, language),
        "faults": _faults(language),
    }


def _texts(name: str, language: Language) -> dict[str, str]:
    """Return all that the script itself says."""
    _ = translations(language).gettext
    asked = _("If this address can be subscribed to %(name)s, a mail is on its way to it.")
    return {
        "title": _("Sign up for %(name)s").replace("%(name)s", name),
        "close": _("Close"),
        "email": _("E-mail address"),
        "decoy": _("Leave this field empty"),
        "policy": _("Read the privacy policy"),
        "submit": _("Sign up"),
        "sending": _("One moment ..."),
        "done": _("Check your inbox"),
        "asked": asked.replace("%(name)s", name),
        "next": _("Click the link in it and confirm. Only then are you subscribed."),
        "no_email": _("Enter a valid e-mail address, such as name@example.org."),
        "no_consent": _("Tick the box to agree; without it we cannot send you anything."),
        "changed": _(
            "What you agree to has changed in the meantime. Read it, tick the box again and send "
            "the form once more."
        ),
        "unreachable": _(
            "That did not get through. Check your connection and send the form again; what you "
            "typed is still there."
        ),
        "failed": _("That did not work. Wait a minute and send the form again."),
        "elsewhere": _("Or sign up on our own page"),
    }


def _faults(language: Language) -> dict[str, str]:
    """Return what the API says of values, by its English sentence, where it reads otherwise."""
    said = {sentence: translations(language).gettext(sentence) for sentence in sentences.FAULTS}
    return {sentence: meant for sentence, meant in said.items() if meant != sentence}
