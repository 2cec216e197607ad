"""What somebody receives: all newsletters on one page, and one button for every change."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.domain.errors import Fault, Gone, Invalid, NotFound
from app.services import links, preferences
from app.services.preferences import PAUSES, Preferences, Wish
from app.tokens import TokenError
from app.web import bodies, problems, rendering
from app.web.deps import AnySite, Site
from app.web.pages.confirm import PAGES

router = APIRouter(tags=["public"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    status: PAGES[status] for status in (200, 404, 410, 503)
}
_FORM = {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}
_FIELDS = ("shown", "on", "pause", "wording", "policy")


@router.get("/preferences/{token}", response_class=HTMLResponse, responses=_ANSWERS)
async def show(token: str, request: Request, site: AnySite) -> HTMLResponse:
    """Show what somebody receives, whose address is masked: a mail may have been forwarded."""
    return _page(request, token, await _read(site, token))


@router.post(
    "/preferences/{token}",
    response_class=HTMLResponse,
    responses={**_ANSWERS, **problems.documented(400, 413, 415, 422, page=True)},
    openapi_extra={"requestBody": {"content": _FORM}},
)
async def save(token: str, request: Request, site: AnySite) -> HTMLResponse:
    """Leave, pause and join at once; who joins is asked by mail to confirm."""
    known = await _read(site, token)
    slugs = [line.newsletter.slug for line in known.lines]
    names = {f"{field}.{slug}": None for slug in slugs for field in _FIELDS}
    fields = await bodies.form_fields(request, names)
    wishes = {slug: _wish(fields, slug) for slug in slugs if f"shown.{slug}" in fields}
    source = site.source(request, "preferences")
    catalog, now = await site.catalog(), site.house.clock()
    for command in preferences.commands(known, wishes, source, catalog, now):
        await site.groups.submit(command)
    return _page(request, token, await _read(site, token), is_saved=True)


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


async def _read(site: Site, token: str) -> Preferences:
    try:
        subscriber = links.read_preferences(site.house, token)
    except TokenError as error:
        detail = "This is not a complete link of ours. Copy the whole link from the mail."
        raise NotFound(detail) from error
    known = await site.engine.read(preferences.read, site.house, subscriber)
    if known is None:
        raise Gone("Nothing is kept about you any more.")
    return known


def _page(
    request: Request, token: str, known: Preferences, *, is_saved: bool = False
) -> HTMLResponse:
    language = rendering.language_of(request, None, known.locale)
    context = {"known": known, "token": token, "pauses": PAUSES, "is_saved": is_saved}
    return rendering.page(language, "preferences.html", context, headers=rendering.PRIVATE)
