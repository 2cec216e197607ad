"""`POST /v1/subscriptions`: what a website's sign-up form posts to."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import AfterValidator, Field

from app.db.newsletters import Newsletter
from app.domain.errors import Fault, Invalid, Problem, TooMany, Unavailable
from app.services.catalog import Catalog
from app.services.commands import SignUp
from app.web import bodies, negotiation, problems, rendering
from app.web.deps import AnySite, Site
from app.web.fields import Email, Line, Locale, PersonName, SlugRef, Strict

router = APIRouter()

ACCEPTED = {
    "status": "accepted",
    "detail": "If the address can be subscribed, a mail with a confirmation link is on its way.",
}
_TICKED = {"on", "true", "1", "yes"}
_CONSENT = "Tick the box to agree; without it we cannot send you anything."


def _agreed(value: bool) -> bool:  # noqa: FBT001 - it is the value
    if not value:
        raise ValueError(_CONSENT)
    return value


class SignUpBody(Strict):
    """A sign-up."""

    email: Email
    consent: Annotated[bool, AfterValidator(_agreed), Field(json_schema_extra={"const": True})]
    newsletter: SlugRef | None = None
    policy_version: Line | None = None
    wording: Line | None = None
    name: PersonName | None = None
    locale: Locale | None = None
    page_url: str | None = None
    website: str | None = Field(None, description="Leave empty: only robots fill it.")


_SCHEMA = SignUpBody.model_json_schema()
_FORM_SCHEMA = {
    **_SCHEMA,
    "additionalProperties": True,
    "properties": {
        name: {"type": "string"} if name != "consent" else {"enum": sorted(_TICKED)}
        for name in SignUpBody.model_fields
    },
}
_CONTENT = {
    "application/json": {"schema": _SCHEMA},
    "application/x-www-form-urlencoded": {"schema": _FORM_SCHEMA},
    "multipart/form-data": {"schema": _FORM_SCHEMA},
}
_ANSWER = {
    "type": "object",
    "required": ["status", "detail"],
    "properties": {"status": {"const": "accepted"}, "detail": {"type": "string"}},
}


@router.post(
    "/v1/subscriptions",
    status_code=202,
    tags=["public"],
    responses={
        202: {"description": "Accepted", "content": {"application/json": {"schema": _ANSWER}}},
        303: {"description": "Accepted, for a browser: on to the thank-you page"},
        **problems.documented(400, 413, 415, 422, 429, 503, page=True),
    },
    openapi_extra={"requestBody": {"required": True, "content": _CONTENT}},
)
async def sign_up(request: Request, site: AnySite) -> Response:
    """Sign up. The answer is the same whether or not the address is known."""
    fields: dict[str, Any] = {}
    try:
        await site.admit(request)
        fields = await _fields(request)
        newsletter = await _submit(request, site, fields)
    except TooMany as problem:
        return _put_off(request, site, problem)
    except Problem as problem:
        return await _refused(request, site, fields, problem)
    headers = {"Vary": negotiation.VARY}
    if not negotiation.wants_json(request):
        return RedirectResponse(_thanks(newsletter), 303, headers)
    headers |= negotiation.cors(request, set(newsletter.allowed_origins))
    return JSONResponse(ACCEPTED, 202, headers)


@router.options("/v1/subscriptions", include_in_schema=False)
async def preflight(request: Request, site: AnySite) -> Response:
    """Answer a browser that asks before a script may post (Fetch standard)."""
    headers = negotiation.cors(request, (await site.catalog()).origins())
    if headers:
        headers |= {
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": "Content-Type, Accept",
            "Access-Control-Max-Age": "600",
        }
    return Response(status_code=204, headers={**headers, "Vary": negotiation.VARY})


async def _fields(request: Request) -> dict[str, Any]:
    """Return the members of the body; a form's words for consent become a boolean."""
    if bodies.is_json(request):
        return await bodies.json_object(request)
    raw = await bodies.form_fields(request, SignUpBody.model_fields)
    fields: dict[str, Any] = {n: v for n, v in raw.items() if v.strip() or n == "email"}
    fields["consent"] = raw.get("consent", "").lower() in _TICKED
    return {"email": "", **fields}


async def _submit(request: Request, site: Site, fields: dict[str, Any]) -> Newsletter:
    body = bodies.checked(SignUpBody, fields)
    if body.website:
        return (await site.catalog()).newsletter(body.newsletter)
    method = "api" if bodies.is_json(request) else "form"
    done = await site.groups.submit(
        SignUp(
            address=body.email,
            newsletter=body.newsletter,
            policy_version=body.policy_version,
            wording=body.wording,
            name=body.name or None,
            locale=body.locale,
            source=site.source(request, method, body.page_url),
        )
    )
    if done.newsletter is None:
        raise Invalid([Fault("/newsletter", "There is no such newsletter.")])
    return done.newsletter


def _thanks(newsletter: Newsletter) -> str:
    return newsletter.thank_you_url or f"/newsletters/{quote(newsletter.slug)}/thank-you"


def _put_off(request: Request, site: Site, problem: TooMany) -> Response:
    """Refuse without reading anything: neither the body nor the database."""
    if not negotiation.wants_json(request):
        raise problem  # the handler knows whether a person or a script waits
    headers = {"Vary": negotiation.VARY, **problems.headers_for(problem)}
    headers |= negotiation.cors(request, site.house.catalog.known.origins())
    return problems.as_json(problems.of(problem), headers)


async def _refused(
    request: Request, site: Site, fields: dict[str, Any], problem: Problem
) -> Response:
    members = problems.of(problem)
    headers = {"Vary": negotiation.VARY}
    catalog = None if isinstance(problem, Unavailable) else await _catalog_or_none(site)
    newsletter = _named(catalog, fields)
    if negotiation.wants_json(request):
        if newsletter is not None:
            headers |= negotiation.cors(request, set(newsletter.allowed_origins))
        return problems.as_json(members, headers)
    if catalog is None or newsletter is None or not isinstance(problem, Invalid):
        raise problem  # the handler knows whether a person or a script waits
    faults = {fault.pointer.removeprefix("/"): fault.detail for fault in problem.faults}
    shown = {name: fields.get(name, "") for name in ("email", "name")}
    values = {**shown, "consent": fields.get("consent") is True}
    return rendering.sign_up_form(request, catalog, newsletter, values, faults, headers)


async def _catalog_or_none(site: Site) -> Catalog | None:
    try:
        return await site.catalog()
    except Problem:
        return None


def _named(catalog: Catalog | None, fields: dict[str, Any]) -> Newsletter | None:
    slug = fields.get("newsletter")
    try:
        return catalog.newsletter(slug if isinstance(slug, str) else None) if catalog else None
    except Problem:
        return None
