"""The subscriber list, one subscriber, and the proof of consent."""

import hashlib
import json
from dataclasses import asdict, replace
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy.engine import Connection

from app.db import subscribers
from app.db.subscribers import Filter, Position, Sort
from app.domain import address
from app.domain.errors import Fault, Invalid, NotFound
from app.domain.subscription import Status
from app.services import consents
from app.services.house import House
from app.services.keys import Key
from app.tokens import Purpose, TokenError
from app.web import problems
from app.web.deps import AnySite, ReadingKey
from app.web.fields import BareAddress, Line, Moment, SlugRef

router = APIRouter(tags=["subscribers"])

COUNT_CAP = 10_000
_READ_ERRORS = problems.documented(401, 403, 404, 503)


class SubscriptionShown(BaseModel):
    """One subscription of a subscriber."""

    newsletter: str
    status: Status
    requested_at: AwareDatetime | None
    confirmed_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    paused_until: AwareDatetime | None


class SubscriberShown(BaseModel):
    """One subscriber."""

    id: UUID
    email: str
    name: str | None
    locale: str | None
    attributes: dict[str, Any]
    created_at: AwareDatetime
    suppressed: bool
    subscriptions: list[SubscriptionShown]


class SubscriberPage(BaseModel):
    """One page of the list; `total` only with `count=true`."""

    items: list[SubscriberShown]
    next_cursor: str | None
    total: int | None = None
    total_capped: bool | None = None


class ListQuery(BaseModel):
    """Filters, order and page."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    email: BareAddress | None = None
    q: Line | None = None
    newsletter: SlugRef | None = None
    status: Status | None = None
    locale: Line | None = None
    suppressed: bool | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None
    confirmed_after: Moment | None = None
    confirmed_before: Moment | None = None
    sort: Sort = Sort.NEWEST
    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    count: bool = False

    def filter(self) -> Filter:
        """Return which subscribers are asked for."""
        return Filter(
            email_key=address.parse(self.email).key if self.email else None,
            q=self.q or None,
            newsletter=self.newsletter,
            status=self.status.value if self.status else None,
            locale=self.locale,
            suppressed=self.suppressed,
            created_after=self.created_after,
            created_before=self.created_before,
            confirmed_after=self.confirmed_after,
            confirmed_before=self.confirmed_before,
        )


@router.get(
    "/v1/subscribers",
    response_model_exclude_unset=True,
    responses=problems.documented(401, 403, 422, 503),
)
async def list_page(
    query: Annotated[ListQuery, Query()], site: AnySite, key: ReadingKey
) -> SubscriberPage:
    """List subscribers, newest first unless sorted otherwise, one page after another."""
    wanted = _limited(query.filter(), key)
    return await site.engine.read(_page, site.house, wanted, query)


def _limited(wanted: Filter, key: Key) -> Filter:
    """Confine a key that is limited to one newsletter."""
    if key.newsletter is None:
        return wanted
    key.require_newsletter(wanted.newsletter or key.newsletter)
    return replace(wanted, newsletter=key.newsletter)


def _page(connection: Connection, house: House, wanted: Filter, query: ListQuery) -> SubscriberPage:
    after = _after(connection, house, wanted, query)
    rows = subscribers.page(connection, wanted, query.sort, after, query.limit + 1)
    items = [SubscriberShown(**row) for row in rows[: query.limit]]
    more = len(rows) > query.limit
    cursor = _cursor(house, wanted, query.sort, items[-1].id) if more else None
    page = SubscriberPage(items=items, next_cursor=cursor)
    if query.count:
        total = subscribers.count(connection, wanted, COUNT_CAP + 1)
        page.total = min(total, COUNT_CAP)
        if total > COUNT_CAP:
            page.total_capped = True
    return page


def _fingerprint(wanted: Filter, sort: Sort) -> bytes:
    """Return what binds a cursor to its filters and order."""
    shown = json.dumps([asdict(wanted), sort], default=datetime.isoformat, sort_keys=True)
    return hashlib.sha256(shown.encode()).digest()[:16]


def _cursor(house: House, wanted: Filter, sort: Sort, last: UUID) -> str:
    """Return a cursor: it names the last row only by its id, so no address gets into a URL."""
    payload = _fingerprint(wanted, sort) + last.bytes
    return house.tokens.sign(Purpose.CURSOR, payload, house.clock())


def _after(
    connection: Connection, house: House, wanted: Filter, query: ListQuery
) -> Position | None:
    if query.cursor is None:
        return None
    try:
        payload = house.tokens.read(Purpose.CURSOR, query.cursor, house.clock())
    except TokenError as error:
        raise Invalid([Fault("/cursor", "This is not a cursor that we gave.")]) from error
    if payload[:16] != _fingerprint(wanted, query.sort):
        detail = "This cursor belongs to other filters or another order."
        raise Invalid([Fault("/cursor", detail)])
    position = subscribers.position(connection, UUID(bytes=payload[16:]))
    if position is None:
        detail = "The subscriber where this page began is gone. Start again without a cursor."
        raise Invalid([Fault("/cursor", detail)])
    return position


@router.get("/v1/subscribers/{subscriber}", responses=_READ_ERRORS)
async def read(subscriber: str, site: AnySite, key: ReadingKey) -> SubscriberShown:
    """Return one subscriber, by id or by percent-encoded address."""
    row = await site.engine.read(_read, subscriber, key)
    return SubscriberShown(**row)


class Proof(BaseModel):
    """What an authority asks."""

    subscriber: SubscriberShown
    events: list[dict[str, Any]]
    wordings: list[dict[str, Any]]
    policies: list[dict[str, Any]]
    verified: bool


@router.get("/v1/subscribers/{subscriber}/consent", responses=_READ_ERRORS)
async def consent(subscriber: str, site: AnySite, key: ReadingKey) -> Proof:
    """Return the proof of consent: events, wordings, policies, and whether the chain holds."""
    return Proof(**await site.engine.read(_proof, subscriber, key))


def _proof(connection: Connection, named: str, key: Key) -> dict[str, Any]:
    return consents.proof(connection, _read(connection, named, key)["id"])


def _read(connection: Connection, named: str, key: Key) -> dict[str, Any]:
    subscriber_id = _id(connection, named)
    row = subscribers.read(connection, subscriber_id) if subscriber_id else None
    if row is None:
        raise NotFound("There is no such subscriber.")
    held = {subscription["newsletter"] for subscription in row["subscriptions"]}
    if key.newsletter is not None and key.newsletter not in held:
        raise NotFound("There is no such subscriber.")
    return row


def _id(connection: Connection, named: str) -> UUID | None:
    if "@" in named:
        try:
            return subscribers.find(connection, address.parse(named).key)
        except ValueError:
            return None
    try:
        return UUID(named)
    except ValueError:
        return None
