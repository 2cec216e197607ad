"""Addresses that must not be mailed: listed without the addresses, added, lifted."""

import re
from dataclasses import asdict
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict
from sqlalchemy.engine import Connection

from app.db import suppressions as rows
from app.db.suppressions import Filter, Position
from app.domain import address
from app.domain.errors import NotFound
from app.domain.subscription import Reason
from app.services import suppressions
from app.services.house import House
from app.web import bodies, cursors, problems
from app.web.cursors import PageQuery
from app.web.deps import AnySite, ReadingKey, WritingKey
from app.web.fields import BareAddress, Email, PathSegment, Strict

router = APIRouter(tags=["suppressions"])

_HASH_BYTES = 32


class SuppressionShown(BaseModel):
    """One reason for one address, which `id` stands for; `subscriber` if we have them."""

    id: str
    reason: Reason
    created_at: AwareDatetime
    subscriber: UUID | None


class SuppressionPage(BaseModel):
    """One page of the list."""

    items: list[SuppressionShown]
    next_cursor: str | None


class ListQuery(PageQuery):
    """Filters and page."""

    reason: Reason | None = None
    email: BareAddress | None = None


class LiftQuery(BaseModel):
    """Which reason to lift; without one all that can be."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    reason: Reason | None = None


class NewSuppression(Strict):
    """An address to suppress, and why."""

    email: Email
    reason: Literal["manual", "hard_bounce", "complaint"] = "manual"


@router.get(
    "/v1/suppressions", responses={**cursors.LINKED, **problems.documented(401, 403, 422, 503)}
)
async def list_page(
    query: Annotated[ListQuery, Query()],
    request: Request,
    response: Response,
    site: AnySite,
    key: ReadingKey,
) -> SuppressionPage:
    """List suppressions, newest first, one page after another."""
    cursors.refuse_repeated(request)
    key.require_newsletter(None)
    hashed = _hash(site.house, query.email) if query.email else None
    wanted = Filter(reason=query.reason, hash=hashed)
    page = await site.engine.read(_page, site.house, wanted, query)
    response.headers.update(cursors.next_link(site.house, request, page.next_cursor))
    return page


def _page(
    connection: Connection, house: House, wanted: Filter, query: ListQuery
) -> SuppressionPage:
    question = ["suppressions", asdict(wanted)]
    place = None if query.cursor is None else cursors.take(house, question, query.cursor)
    after = None if place is None else _position(place)
    found = rows.page(connection, wanted, after, query.limit + 1)
    items = [SuppressionShown(**row) for row in found[: query.limit]]
    more = len(found) > query.limit
    cursor = cursors.give(house, question, _place(items[-1])) if more else None
    return SuppressionPage(items=items, next_cursor=cursor)


def _place(last: SuppressionShown) -> bytes:
    return cursors.moment_bytes(last.created_at) + bytes.fromhex(last.id) + last.reason.encode()


def _position(place: bytes) -> Position:
    moment, rest = place[: cursors.MOMENT_BYTES], place[cursors.MOMENT_BYTES :]
    hashed, reason = rest[:_HASH_BYTES].hex(), rest[_HASH_BYTES:].decode()
    return Position(cursors.moment(moment), hashed, reason)


@router.post(
    "/v1/suppressions",
    status_code=201,
    response_model=SuppressionShown,
    responses={
        200: {"description": "It was there already", "model": SuppressionShown},
        **problems.documented(400, 401, 403, 413, 415, 422, 503),
    },
    openapi_extra=bodies.described(NewSuppression),
)
async def block(request: Request, site: AnySite, key: WritingKey) -> Response:
    """Suppress an address: no mail goes there, from no newsletter, and nothing that waits."""
    key.require_newsletter(None)
    body = bodies.checked(NewSuppression, await bodies.json_object(request))
    row, is_new = await site.engine.write(
        suppressions.block, site.house, body.email, Reason(body.reason)
    )
    return JSONResponse(SuppressionShown(**row).model_dump(mode="json"), 201 if is_new else 200)


@router.delete(
    "/v1/suppressions/{suppression}",
    status_code=204,
    responses=problems.documented(401, 403, 404, 409, 422, 503),
)
async def lift(
    suppression: PathSegment,
    query: Annotated[LiftQuery, Query()],
    request: Request,
    site: AnySite,
    key: WritingKey,
) -> None:
    """Lift a suppression, by its id or the percent-encoded address."""
    cursors.refuse_repeated(request)
    key.require_newsletter(None)
    hashed = _named(site.house, suppression)
    await site.engine.write(suppressions.lift, site.house, hashed, query.reason)


def _named(house: House, suppression: str) -> str:
    try:
        hashed = _hash(house, suppression) if "@" in suppression else suppression
    except ValueError:
        hashed = ""
    if not re.fullmatch(r"[0-9a-f]{64}", hashed):
        raise NotFound("There is no such suppression.")
    return hashed


def _hash(house: House, email: str) -> str:
    return house.address_hash(address.parse(email).key)
