"""Versions of the privacy policy."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel

from app.db import policies as rows
from app.domain.errors import NotFound
from app.services import policies
from app.web import bodies, problems
from app.web.deps import AnyKey, AnySite, NewsletterKey
from app.web.fields import Document, PathSegment, Strict, Version, WebUrl

router = APIRouter(tags=["policies"])


class PolicyShown(BaseModel):
    """One version, without its text."""

    version: str
    url: str
    sha256: str
    published_at: AwareDatetime


class PolicyWithText(PolicyShown):
    """One version with its text."""

    text: str


class NewPolicy(Strict):
    """A version to publish."""

    version: Version
    url: WebUrl
    text: Document


@router.get("/v1/policies", responses=problems.documented(401, 503))
async def list_all(site: AnySite, _key: AnyKey) -> dict[str, list[PolicyShown]]:
    """List every version, the current one first."""
    found = await site.engine.read(rows.read_all)
    return {"items": [PolicyShown.model_validate(p, from_attributes=True) for p in found]}


@router.post(
    "/v1/policies",
    status_code=201,
    response_model=PolicyShown,
    responses=problems.documented(400, 401, 403, 409, 413, 415, 422, 503),
    openapi_extra=bodies.described(NewPolicy),
)
async def publish(request: Request, site: AnySite, key: NewsletterKey) -> Response:
    """Publish a version; it becomes the current one and can never be changed."""
    body = bodies.checked(NewPolicy, await bodies.json_object(request))
    key.require_newsletter(None)
    now = site.house.clock()
    made = await site.engine.write(policies.publish, body.version, body.url, body.text, now)
    shown = PolicyShown.model_validate(made, from_attributes=True)
    return JSONResponse(shown.model_dump(mode="json"), 201)


@router.get("/v1/policies/{version:path}", responses=problems.documented(401, 404, 503))
async def read(version: PathSegment, site: AnySite, _key: AnyKey) -> PolicyWithText:
    """Return one version with its text."""
    found: dict[str, Any] | None = await site.engine.read(rows.read, version)
    if found is None:
        raise NotFound("There is no such version.")
    return PolicyWithText(**found)
