"""Newsletters: the public form description, and what admins create and change."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, Field

from app.db import newsletters as rows
from app.db.newsletters import Newsletter
from app.domain.errors import Fault, Forbidden, Invalid, NotFound
from app.services import forms, newsletters
from app.services.keys import Key
from app.web import bodies, negotiation, problems
from app.web.deps import AnyKey, AnySite, NewsletterKey
from app.web.fields import (
    BareAddress,
    Header,
    Locale,
    NeededHeader,
    Origin,
    Paragraph,
    PathSegment,
    Slug,
    Strict,
    WebUrl,
)

router = APIRouter(tags=["newsletters"])


class NewsletterShown(BaseModel):
    """A newsletter as admins see it."""

    slug: str
    name: str
    from_address: str
    from_name: str | None
    reply_to: str | None
    pitch: str
    promise: str
    consent_text: str
    wording: str
    postal_address: str | None
    allowed_origins: list[str]
    thank_you_url: str | None
    confirmed_url: str | None
    welcome: bool
    archive: bool
    reminder: bool
    locale: str
    default: bool
    created_at: AwareDatetime
    updated_at: AwareDatetime


class Changes(Strict):
    """What can be changed; what is left out stays as it is."""

    name: NeededHeader = ""
    from_address: BareAddress = ""
    from_name: Header | None = None
    reply_to: BareAddress | None = None
    pitch: Paragraph = ""
    promise: Paragraph = ""
    consent_text: Annotated[Paragraph, Field(min_length=1)] = ""
    postal_address: Paragraph | None = None
    allowed_origins: Annotated[list[Origin], Field(max_length=50, default_factory=list)]
    thank_you_url: WebUrl | None = None
    confirmed_url: WebUrl | None = None
    welcome: bool = False
    archive: bool = False
    reminder: bool = False
    locale: Locale = "en"
    default: bool = False

    def columns(self) -> dict[str, Any]:
        """Return only what was sent, as columns."""
        values = self.model_dump(exclude_unset=True)
        if "default" in values:
            values["is_default"] = values.pop("default")
        return values


class NewNewsletter(Changes):
    """A new newsletter."""

    slug: Slug
    name: NeededHeader
    from_address: BareAddress


class FormDescription(BaseModel):
    """All that somebody needs who builds a form of their own."""

    newsletter: str
    name: str
    pitch: str
    promise: str
    consent_text: str
    wording: str
    policy_version: str
    policy_url: str
    action: str
    fields: list[str]


def _shown(newsletter: Newsletter) -> dict[str, Any]:
    values = asdict(newsletter)
    values["default"] = values.pop("is_default")
    return NewsletterShown(**values).model_dump(mode="json")


_FIELDS = ["email", "consent", "newsletter", "policy_version", "wording", "name", "locale"]


@router.get(
    "/v1/newsletters/{slug}/form",
    tags=["public"],
    response_model=FormDescription,
    responses=problems.documented(404, 503),
)
async def form(slug: PathSegment, request: Request, site: AnySite) -> Response:
    """Describe the form of a newsletter."""
    catalog = await site.catalog()
    shown = asdict(forms.describe(catalog, slug, site.house.base_url))
    described = FormDescription(**shown, fields=[*_FIELDS, "page_url", "website"])
    cors = negotiation.cors(request, set(catalog.newsletters[slug].allowed_origins))
    return JSONResponse(described.model_dump(), headers={"Vary": "Origin", **cors})


def _refuse_default(key: Key, body: Changes) -> None:
    """Keep a key that is limited to one newsletter from taking the default from another."""
    if key.newsletter is not None and "default" in body.model_fields_set:
        raise Forbidden(f"This key is limited to the newsletter {key.newsletter}.")


@router.get("/v1/newsletters", responses=problems.documented(401, 503))
async def list_all(site: AnySite, key: AnyKey) -> dict[str, list[NewsletterShown]]:
    """List every newsletter that the key may see."""
    found = await site.engine.read(rows.read_all)
    seen = [n for n in found if key.newsletter in {None, n.slug}]
    return {"items": [NewsletterShown(**_shown(n)) for n in seen]}


@router.post(
    "/v1/newsletters",
    status_code=201,
    response_model=NewsletterShown,
    responses=problems.documented(400, 401, 403, 409, 413, 415, 422, 503),
    openapi_extra=bodies.described(NewNewsletter),
)
async def create(request: Request, site: AnySite, key: NewsletterKey) -> Response:
    """Create a newsletter, and register its consent text as a wording."""
    body = bodies.checked(NewNewsletter, await bodies.json_object(request))
    key.require_newsletter(body.slug)
    _refuse_default(key, body)
    now = site.house.clock()
    made = await site.engine.write(newsletters.create, body.columns(), now)
    location = {"Location": f"/v1/newsletters/{made.slug}"}
    return JSONResponse(_shown(made), 201, location)


@router.get("/v1/newsletters/{slug}", responses=problems.documented(401, 403, 404, 503))
async def read(slug: PathSegment, site: AnySite, key: AnyKey) -> NewsletterShown:
    """Return one newsletter."""
    key.require_newsletter(slug)
    found = await site.engine.read(rows.read, slug)
    if found is None:
        raise NotFound("There is no such newsletter.")
    return NewsletterShown(**_shown(found))


@router.patch(
    "/v1/newsletters/{slug}",
    response_model=NewsletterShown,
    responses=problems.documented(400, 401, 403, 404, 413, 415, 422, 503),
    openapi_extra=bodies.described(Changes),
)
async def change(
    slug: PathSegment, request: Request, site: AnySite, key: NewsletterKey
) -> Response:
    """Change a newsletter; a changed consent text registers a new wording."""
    key.require_newsletter(slug)
    body = bodies.checked(Changes, await bodies.json_object(request))
    _refuse_default(key, body)
    if not body.model_fields_set:
        raise Invalid([Fault("", "Send at least one value to change.")])
    now = site.house.clock()
    changed = await site.engine.write(newsletters.change, slug, body.columns(), now)
    return JSONResponse(_shown(changed))
