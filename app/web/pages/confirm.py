"""The page that a confirmation mail links to; only its button confirms."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.engine import Connection

from app.db import subscriptions
from app.db.subscriptions import Subscription
from app.domain.errors import NotFound
from app.domain.subscription import Status
from app.services import links
from app.services.commands import Answer, Confirm, Done
from app.services.house import House
from app.services.links import ConfirmLink
from app.tokens import TokenError
from app.web import rendering
from app.web.deps import AnySite, Site

router = APIRouter(tags=["public"])

_PAGE: dict[str, Any] = {"content": {"text/html": {"schema": {"type": "string"}}}}
PAGES: dict[int | str, dict[str, Any]] = {
    200: {"description": "A page", **_PAGE},
    404: {"description": "Not a link of ours", **_PAGE},
    410: {"description": "The link is no longer valid", **_PAGE},
    503: {"description": "Away; try again", **_PAGE},
}


@router.get("/confirm/{token}", response_class=HTMLResponse, responses=PAGES)
async def show(token: str, request: Request, site: AnySite) -> HTMLResponse:
    """Show one button. Nothing changes: mail scanners follow links."""
    link = _link(site, token)
    done = await site.engine.read(_look, site.house, link)
    if done.answer is Answer.UNCHANGED:
        context = {"newsletter": done.newsletter, "token": token}
        language = rendering.language_of(request, done.newsletter, done.locale)
        return rendering.page(language, "confirm.html", context, headers=rendering.PRIVATE)
    return _answered(request, done)


@router.post("/confirm/{token}", response_class=HTMLResponse, responses=PAGES)
async def confirm(token: str, request: Request, site: AnySite) -> HTMLResponse:
    """Confirm; doing it twice is well."""
    link = _link(site, token)
    done = await site.groups.submit(
        Confirm(
            subscription=link.subscription,
            generation=link.generation,
            sequence=link.sequence,
            expired=link.expired,
            source=site.source(request, "page"),
        )
    )
    return _answered(request, done)


def _link(site: Site, token: str) -> ConfirmLink:
    try:
        return links.read_confirm(site.house, token)
    except TokenError as error:
        detail = "This is not a complete link of ours. Copy the whole link from the mail."
        raise NotFound(detail) from error


def _look(connection: Connection, house: House, link: ConfirmLink) -> Done:
    """Return what confirming would answer; UNCHANGED if it is still to be done."""
    row = subscriptions.read(connection, link.subscription)
    if row is None:
        return Done(Answer.LINK_EXPIRED)
    newsletter = house.catalog.current(connection).newsletters[row.newsletter]
    return Done(_answer(row, link), newsletter, row.locale or row.pending_locale)


def _answer(row: Subscription, link: ConfirmLink) -> Answer:
    if row.generation != link.generation or row.status is Status.UNSUBSCRIBED:
        return Answer.LEFT_SINCE
    if row.status is Status.CONFIRMED:
        return Answer.ALREADY_CONFIRMED
    return Answer.LINK_EXPIRED if link.expired else Answer.UNCHANGED


def _answered(request: Request, done: Done) -> HTMLResponse:
    answer, newsletter = done.answer, done.newsletter
    language = rendering.language_of(request, newsletter, done.locale)
    if newsletter is not None and answer in {Answer.CONFIRMED, Answer.ALREADY_CONFIRMED}:
        context = {"newsletter": newsletter, "already": answer is Answer.ALREADY_CONFIRMED}
        return rendering.page(language, "confirmed.html", context, headers=rendering.PRIVATE)
    left = "You have left this newsletter since this mail was sent, so its link is void."
    late = "Links in confirmation mails work for a limited time, and this one is too old."
    again = newsletter and {"url": f"/newsletters/{newsletter.slug}", "label": "Sign up again"}
    context = {
        "title": "This link is no longer valid",
        "detail": left if answer is Answer.LEFT_SINCE else late,
        "status": 410,
        "action": again,
    }
    return rendering.page(language, "problem.html", context, 410, rendering.PRIVATE)
