"""What somebody receives, and what is kept about them: one page, and one button for every change.

The link in every mail opens it with the address masked, to leave, pause and join. Whatever else a
forwarded mail could be abused for needs a link that is mailed on request and works for an hour.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel

from app.domain.errors import Fault, Gone, Invalid, NotFound
from app.languages.catalogs import LANGUAGES
from app.services import consents, links, preferences
from app.services.commands import AskLink, Erase
from app.services.preferences import PAUSES, Preferences, Wish
from app.tokens import TokenError, TokenExpired
from app.web import bodies, problems, rendering
from app.web.deps import AnySite, Site
from app.web.fields import Email, PersonName
from app.web.pages.confirm import PAGES

router = APIRouter(tags=["public"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    status: PAGES[status] for status in (200, 404, 410, 503)
}
_REFUSALS = problems.documented(400, 413, 415, 422, page=True)
_FORM = {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}
_BODY = {"requestBody": {"content": _FORM}}
_FIELDS = ("shown", "on", "pause", "wording", "policy")


class Asked(BaseModel):
    """Whose link."""

    email: Email


class Person(BaseModel):
    """What somebody wants to be called, and in which language we write."""

    name: PersonName = ""
    locale: str = ""


class Sure(BaseModel):
    """The tick without which nobody is erased."""

    sure: str = ""


@router.get("/preferences", response_class=HTMLResponse, responses={200: PAGES[200]})
async def ask(request: Request) -> HTMLResponse:
    """Show where to ask for the link."""
    return _ask(request, {}, {})


@router.post(
    "/preferences",
    response_class=HTMLResponse,
    responses={
        200: PAGES[200],
        503: PAGES[503],
        **_REFUSALS,
        **problems.documented(429, page=True),
    },
    openapi_extra=_BODY,
)
async def mail_link(request: Request, site: AnySite) -> HTMLResponse:
    """Mail the link to change everything; the answer does not tell whether we know the address."""
    await site.admit(request)
    fields = await bodies.form_fields(request, Asked.model_fields)
    try:
        asked = bodies.checked(Asked, {"email": "", **fields})
    except Invalid as invalid:
        faults = {fault.pointer.removeprefix("/"): fault.detail for fault in invalid.faults}
        return _ask(request, fields, faults)
    await site.groups.submit(AskLink(address=asked.email))
    return rendering.page(rendering.language_of(request), "link_sent.html", {})


def _ask(request: Request, values: Mapping[str, str], faults: Mapping[str, str]) -> HTMLResponse:
    context = {"email": values.get("email", ""), "faults": faults}
    language = rendering.language_of(request)
    return rendering.page(language, "ask_link.html", context, 422 if faults else 200)


@router.get("/preferences/{token}", response_class=HTMLResponse, responses=_ANSWERS)
async def show(token: str, request: Request, site: AnySite) -> HTMLResponse:
    """Show what somebody receives."""
    return _page(request, "preferences.html", token, await _read(site, token))


@router.post(
    "/preferences/{token}",
    response_class=HTMLResponse,
    responses={**_ANSWERS, **_REFUSALS},
    openapi_extra=_BODY,
)
async def save(token: str, request: Request, site: AnySite) -> HTMLResponse:
    """Leave, pause and join at once; who joins by an old link is asked by mail to confirm."""
    known = await _read(site, token)
    slugs = [line.newsletter.slug for line in known.lines]
    names = {f"{field}.{slug}": None for slug in slugs for field in _FIELDS}
    fields = await bodies.form_fields(request, {**names, **Person.model_fields})
    wishes = {slug: _wish(fields, slug) for slug in slugs if f"shown.{slug}" in fields}
    person = bodies.checked(Person, fields) if known.proven and "name" in fields else None
    source = site.source(request, "preferences")
    catalog, now = await site.catalog(), site.house.clock()
    for command in preferences.commands(known, wishes, source, catalog, now):
        await site.groups.submit(command)
    if person is not None:
        locale = person.locale if person.locale in LANGUAGES else known.locale
        await site.engine.write(preferences.rename, known.subscriber, person.name, locale)
    return _page(request, "preferences.html", token, await _read(site, token), is_saved=True)


def _wish(fields: Mapping[str, str], slug: str) -> Wish:
    pause = fields.get(f"pause.{slug}", "")
    if pause not in {"", "0", *map(str, PAUSES)}:
        raise Invalid([Fault(bodies.pointer(f"pause.{slug}"), "Choose one of the pauses.")])
    return Wish(
        is_on=f"on.{slug}" in fields,
        pause=int(pause) if pause else None,
        wording=fields.get(f"wording.{slug}"),
        policy_version=fields.get(f"policy.{slug}"),
    )


@router.get(
    "/preferences/{token}/data",
    responses={
        200: {"description": "All that is kept, as JSON"},
        **{status: PAGES[status] for status in (404, 410, 503)},
    },
)
async def data(token: str, site: AnySite) -> JSONResponse:
    """Give somebody a copy of all that is kept about them (GDPR article 15)."""
    known = await _read(site, token, proven=True)
    copy = await site.engine.read(consents.proof, known.subscriber)
    attached = {"Content-Disposition": 'attachment; filename="my-data.json"'}
    return JSONResponse(jsonable_encoder(copy), headers={**rendering.PRIVATE, **attached})


@router.post(
    "/preferences/{token}/erase",
    response_class=HTMLResponse,
    responses={**_ANSWERS, **_REFUSALS},
    openapi_extra=_BODY,
)
async def erase(token: str, request: Request, site: AnySite) -> HTMLResponse:
    """Forget somebody (GDPR article 17)."""
    known = await _read(site, token, proven=True)
    fields = await bodies.form_fields(request, Sure.model_fields)
    if not bodies.checked(Sure, fields).sure:
        raise Invalid([Fault("/sure", "Tick the box to be erased.")])
    source = site.source(request, "preferences")
    await site.groups.submit(Erase(subscriber=known.subscriber, source=source))
    language = rendering.language_of(request, None, known.locale)
    return rendering.page(language, "erased.html", {}, headers=rendering.PRIVATE)


async def _read(site: Site, token: str, *, proven: bool = False) -> Preferences:
    """Return what the link shows; raises NotFound or Gone if it is not good enough."""
    try:
        link = links.read_preferences(site.house, token)
    except TokenExpired as error:
        raise Gone("Links to change everything work for an hour. Ask for a new one.") from error
    except TokenError as error:
        detail = "This is not a complete link of ours. Copy the whole link from the mail."
        raise NotFound(detail) from error
    known = await site.engine.read(preferences.read, site.house, link)
    if known is None:
        raise Gone("Nothing is kept about you any more.")
    if proven and not known.proven:
        raise NotFound("For this, ask for a new link.")
    return known


def _page(
    request: Request, template: str, token: str, known: Preferences, *, is_saved: bool = False
) -> HTMLResponse:
    language = rendering.language_of(request, None, known.locale)
    context = {
        "known": known,
        "token": token,
        "pauses": PAUSES,
        "languages": LANGUAGES.values(),
        "is_saved": is_saved,
    }
    return rendering.page(language, template, context, headers=rendering.PRIVATE)
