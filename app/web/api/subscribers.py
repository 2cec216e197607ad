"""The subscriber list, one subscriber, and the proof of consent."""

from dataclasses import asdict, replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BaseModel
from sqlalchemy.engine import Connection

from app.db import subscribers
from app.db.subscribers import Filter, Position, Sort
from app.domain import address
from app.domain.errors import Fault, Invalid, NotFound
from app.domain.subscription import Status
from app.services import consents
from app.services.house import House
from app.services.keys import Key
from app.web import cursors, problems
from app.web.cursors import PageQuery
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


class ListQuery(PageQuery):
    """Filters, order and page."""

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
    query: Annotated[ListQuery, Query()], request: Request, site: AnySite, key: ReadingKey
) -> SubscriberPage:
    """List subscribers, newest first unless sorted otherwise, one page after another."""
    cursors.refuse_repeated(request)
    wanted = _limited(query.filter(), key)
    return await site.engine.read(_page, site.house, wanted, query, key)


def _limited(wanted: Filter, key: Key) -> Filter:
    """Confine a key that is limited to one newsletter."""
    if key.newsletter is None:
        return wanted
    key.require_newsletter(wanted.newsletter or key.newsletter)
    return replace(wanted, newsletter=key.newsletter)


def _seen(row: dict[str, Any], key: Key) -> dict[str, Any]:
    """Leave out what a key that is limited to one newsletter may not know of a subscriber."""
    held = [s for s in row["subscriptions"] if key.newsletter in {None, s["newsletter"]}]
    return {**row, "subscriptions": held}


def _page(
    connection: Connection, house: House, wanted: Filter, query: ListQuery, key: Key
) -> SubscriberPage:
    after = _after(connection, house, wanted, query)
    rows = subscribers.page(connection, wanted, query.sort, after, query.limit + 1)
    items = [SubscriberShown(**_seen(row, key)) for row in rows[: query.limit]]
    more = len(rows) > query.limit
    cursor = _cursor(house, wanted, query.sort, items[-1]) if more else None
    page = SubscriberPage(items=items, next_cursor=cursor)
    if query.count:
        total = subscribers.count(connection, wanted, COUNT_CAP + 1)
        page.total = min(total, COUNT_CAP)
        if total > COUNT_CAP:
            page.total_capped = True
    return page


def _question(wanted: Filter, sort: Sort) -> object:
    return ["subscribers", asdict(wanted), sort]


def _cursor(house: House, wanted: Filter, sort: Sort, last: SubscriberShown) -> str:
    place = last.id.bytes + cursors.moment_bytes(last.created_at)
    return cursors.give(house, _question(wanted, sort), place)


def _after(
    connection: Connection, house: House, wanted: Filter, query: ListQuery
) -> Position | None:
    if query.cursor is None:
        return None
    place = cursors.take(house, _question(wanted, query.sort), query.cursor)
    last = UUID(bytes=place[:16])
    if query.sort in {Sort.CREATED, Sort.NEWEST}:
        return Position(last, cursors.moment(place[16:]), "")
    position = subscribers.position(connection, last)
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
    shown = _read(connection, named, key)
    proof = consents.proof(connection, shown["id"])
    if key.newsletter is None:
        return proof
    events = [event for event in proof["events"] if event["newsletter"] == key.newsletter]
    versions = {event["policy_version"] for event in events}
    return {
        **proof,
        "subscriber": shown,
        "events": events,
        "wordings": [w for w in proof["wordings"] if w["newsletter"] == key.newsletter],
        "policies": [p for p in proof["policies"] if p["version"] in versions],
    }


def _read(connection: Connection, named: str, key: Key) -> dict[str, Any]:
    subscriber_id = _id(connection, named)
    row = subscribers.read(connection, subscriber_id) if subscriber_id else None
    if row is None:
        raise NotFound("There is no such subscriber.")
    held = {subscription["newsletter"] for subscription in row["subscriptions"]}
    if key.newsletter is not None and key.newsletter not in held:
        raise NotFound("There is no such subscriber.")
    return _seen(row, key)


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
