"""The hosted sign-up page, and where a browser goes after it."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.db import policies
from app.db.newsletters import Newsletter
from app.domain.errors import NotFound
from app.services.catalog import Catalog
from app.web import rendering
from app.web.deps import AnySite

router = APIRouter(include_in_schema=False)


@router.get("/")
async def home(request: Request, site: AnySite) -> HTMLResponse:
    """List what people can sign up to."""
    catalog = await site.catalog()
    context = {"newsletters": list(catalog.newsletters.values())}
    return rendering.page(rendering.language_of(request), "home.html", context)


@router.get("/newsletters/{slug}")
async def form(slug: str, request: Request, site: AnySite) -> HTMLResponse:
    """Show the sign-up form of a newsletter."""
    catalog = await site.catalog()
    return rendering.sign_up_form(request, catalog, _newsletter(catalog, slug))


@router.get("/newsletters/{slug}/thank-you")
async def thank_you(slug: str, request: Request, site: AnySite) -> HTMLResponse:
    """Tell where to look for the mail."""
    newsletter = _newsletter(await site.catalog(), slug)
    language = rendering.language_of(request, newsletter)
    return rendering.page(language, "thank_you.html", {"newsletter": newsletter})


@router.get("/privacy")
async def privacy(request: Request, site: AnySite) -> HTMLResponse:
    """Show the current privacy policy, for whoever has no page of their own for it."""
    policy = await site.engine.read(policies.current)
    if policy is None:
        raise NotFound("No privacy policy has been published yet.")
    return rendering.page(rendering.language_of(request), "privacy.html", {"policy": policy})


def _newsletter(catalog: Catalog, slug: str) -> Newsletter:
    found = catalog.newsletters.get(slug)
    if found is None:
        raise NotFound("There is no such newsletter here. Check the address of the page.")
    return found
