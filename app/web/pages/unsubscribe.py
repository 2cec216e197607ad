"""Leaving: one button for people, one POST for mail programs (RFC 8058)."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from sqlalchemy.engine import Connection
from starlette.exceptions import HTTPException

from app.db import subscriptions
from app.domain.errors import NotFound, Problem
from app.domain.subscription import Why
from app.services import links
from app.services.commands import Answer, Done, Explain, Undo, Unsubscribe
from app.services.house import House
from app.tokens import TokenError
from app.web import bodies, problems, rendering
from app.web.deps import AnySite, Site
from app.web.pages.confirm import PAGES

router = APIRouter(tags=["public"])

_FIELD = "List-Unsubscribe"
_ONE_CLICK = "One-Click"
_ANSWERS: dict[int | str, dict[str, Any]] = {status: PAGES[status] for status in (200, 404, 503)}
_URLENCODED = "application/x-www-form-urlencoded"
_AGAIN = "Sign up again"
_TOO_LATE = "Too late to undo"
_SIGN_UP = "Leaving can be undone for 15 minutes. You can sign up again at any time."
_FORM = {"schema": {"type": "object", "properties": {_FIELD: {"type": "string"}}}}
_BODY = {
    "description": f"`{_FIELD}={_ONE_CLICK}` from mail programs; any other or none from people",
    "required": False,
    "content": {_URLENCODED: _FORM, "multipart/form-data": _FORM},
}


class Reason(BaseModel):
    """The one question."""

    reason: Why


_REASON = {"schema": Reason.model_json_schema()}


@router.get("/unsubscribe/{token}", response_class=HTMLResponse, responses=_ANSWERS)
async def show(token: str, request: Request, site: AnySite) -> HTMLResponse:
    """Show one button. Nothing changes: mail scanners follow links."""
    known = await site.engine.read(_look, site.house, _subscription(site, token))
    return _page(request, site, "unsubscribe.html", known, token=token)


@router.post(
    "/unsubscribe/{token}",
    response_class=HTMLResponse,
    responses=_ANSWERS,
    openapi_extra={"requestBody": _BODY},
)
async def leave(token: str, request: Request, site: AnySite) -> HTMLResponse:
    """Leave at once; the answer is the same for whoever has left or was erased before."""
    subscription = _subscription(site, token)
    method = "one_click" if await _is_one_click(request) else "page"
    source = site.source(request, method)
    done = await site.groups.submit(Unsubscribe(subscription=subscription, source=source))
    return _page(request, site, "unsubscribed.html", done, token=token)


@router.post(
    "/unsubscribe/{token}/undo",
    response_class=HTMLResponse,
    responses={**_ANSWERS, 410: PAGES[410]},
)
async def undo(token: str, request: Request, site: AnySite) -> HTMLResponse:
    """Take the leaving back, for 15 minutes after it."""
    source = site.source(request, "page")
    command = Undo(subscription=_subscription(site, token), source=source)
    done = await site.groups.submit(command)
    if done.answer in {Answer.CONFIRMED, Answer.ALREADY_CONFIRMED}:
        return _page(request, site, "undone.html", done)
    again = done.newsletter and {"url": f"/newsletters/{done.newsletter.slug}", "label": _AGAIN}
    context = {"title": _TOO_LATE, "detail": _SIGN_UP, "status": 410, "action": again}
    language = rendering.language_of(request, done.newsletter, done.locale)
    return rendering.page(language, "problem.html", context, 410, rendering.PRIVATE)


@router.post(
    "/unsubscribe/{token}/reason",
    response_class=HTMLResponse,
    responses={**_ANSWERS, **problems.documented(400, 413, 415, 422, page=True)},
    openapi_extra={"requestBody": {"content": {_URLENCODED: _REASON}}},
)
async def reason(token: str, request: Request, site: AnySite) -> HTMLResponse:
    """Keep why somebody left; the next answer takes the place of this one."""
    subscription = _subscription(site, token)
    fields = bodies.checked(Reason, await bodies.form_fields(request, Reason.model_fields))
    done = await site.groups.submit(Explain(subscription=subscription, why=fields.reason))
    return _page(request, site, "explained.html", done)


def _page(request: Request, site: Site, template: str, done: Done, **context: str) -> HTMLResponse:
    language = rendering.language_of(request, done.newsletter, done.locale)
    house, who = site.house, done.subscriber
    shown = {
        "newsletter": done.newsletter,
        "can_undo": done.can_undo,
        "preferences": who and links.preferences_path(house, who, house.clock()),
        **context,
    }
    return rendering.page(language, template, shown, headers=rendering.PRIVATE)


async def _is_one_click(request: Request) -> bool:
    """Tell whether a mail program posts; a body that cannot be read must not keep anybody in."""
    try:
        fields = await bodies.form_fields(request, {_FIELD: None})
    except (Problem, HTTPException):
        return False
    return fields.get(_FIELD) == _ONE_CLICK


def _subscription(site: Site, token: str) -> UUID:
    try:
        return links.read_unsubscribe(site.house, token)
    except TokenError as error:
        detail = "This is not a complete link of ours. Copy the whole link from the mail."
        raise NotFound(detail) from error


def _look(connection: Connection, house: House, subscription: UUID) -> Done:
    row = subscriptions.read(connection, subscription)
    if row is None:
        return Done(Answer.UNCHANGED)
    newsletter = house.catalog.current(connection).newsletters[row.newsletter]
    locale = row.locale or row.pending_locale
    return Done(Answer.UNCHANGED, newsletter, locale, row.subscriber_id)
