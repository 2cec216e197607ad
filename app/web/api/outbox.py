"""Mail on its way: what waits, what is held and why, and a human's word to try again."""

from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel
from sqlalchemy.engine import Connection

from app.db import outbox as rows
from app.db import transports
from app.db.outbox import Filter, State
from app.domain.subscription import Mail
from app.services import outbox
from app.services.house import House
from app.web import bodies, cursors, problems
from app.web.cursors import PageQuery
from app.web.deps import AnySite, ReadingKey, SendingKey
from app.web.fields import NeededLine, RowNumber, SlugRef, Strict

router = APIRouter(tags=["outbox"])

log = structlog.get_logger()


class MessageShown(BaseModel):
    """One message; never the address that it goes to."""

    id: int
    kind: str
    newsletter: str | None
    subscriber: UUID | None
    subscription: UUID | None
    state: State
    priority: int
    attempts: int
    expirations: int
    outcome: str | None
    provider_id: str | None
    due_at: AwareDatetime
    lease_until: AwareDatetime | None
    created_at: AwareDatetime
    settled_at: AwareDatetime | None


class TransportShown(BaseModel):
    """One way out that rests; when that is over, one message probes."""

    name: str
    paused_until: AwareDatetime | None
    reason: str
    since: AwareDatetime
    failures: int


class OutboxPage(BaseModel):
    """One page of the list, and every transport that rests."""

    items: list[MessageShown]
    next_cursor: str | None
    transports: list[TransportShown]


class ListQuery(PageQuery):
    """Filters and page."""

    state: State | None = None
    kind: Mail | None = None
    newsletter: SlugRef | None = None


class ResumeBody(Strict):
    """Which transport; without a name all of them."""

    transport: NeededLine = ""


class Resumed(BaseModel):
    """What rested until now."""

    resumed: list[str]


@router.get("/v1/outbox", responses={**cursors.LINKED, **problems.documented(401, 403, 422, 503)})
async def list_page(
    query: Annotated[ListQuery, Query()],
    request: Request,
    response: Response,
    site: AnySite,
    key: ReadingKey,
) -> OutboxPage:
    """List mail, newest first, one page after another."""
    cursors.refuse_repeated(request)
    slug = key.newsletter if query.newsletter is None else query.newsletter
    if slug is not None:
        key.require_newsletter(slug)
    wanted = Filter(state=query.state, kind=query.kind, newsletter=slug)
    page = await site.engine.read(_page, site.house, wanted, query)
    response.headers.update(cursors.next_link(site.house, request, page.next_cursor))
    return page


def _page(connection: Connection, house: House, wanted: Filter, query: ListQuery) -> OutboxPage:
    question = ["outbox", asdict(wanted)]
    place = None if query.cursor is None else cursors.take(house, question, query.cursor)
    before = None if place is None else int.from_bytes(place, "big")
    found = rows.page(connection, wanted, before, query.limit + 1)
    items = [MessageShown(**row) for row in found[: query.limit]]
    cursor = None
    if len(found) > query.limit:
        cursor = cursors.give(house, question, items[-1].id.to_bytes(8, "big"))
    return OutboxPage(items=items, next_cursor=cursor, transports=_resting(connection))


def _resting(connection: Connection) -> list[TransportShown]:
    return [
        TransportShown(
            name=name,
            paused_until=pause.until,
            reason=pause.reason,
            since=pause.since,
            failures=pause.failures,
        )
        for name, pause in sorted(transports.read_all(connection).items())
    ]


@router.post("/v1/outbox/{message}/retry", responses=problems.documented(401, 403, 404, 409, 503))
async def retry(message: RowNumber, site: AnySite, key: SendingKey) -> MessageShown:
    """Try a held message again, now."""
    row: dict[str, Any] = await site.engine.write(outbox.retry, site.house, message, key.newsletter)
    log.info("mail_retried", key=key.id, id=message)
    site.wake()
    return MessageShown(**row)


@router.post(
    "/v1/outbox/resume",
    responses=problems.documented(400, 401, 403, 413, 415, 422, 503),
    openapi_extra=bodies.described(ResumeBody, required=False),
)
async def resume(request: Request, site: AnySite, key: SendingKey) -> Resumed:
    """Let mail leave at once through what rests, for all workers; nothing rests: nothing done.

    Without a name also confirmation mails that wait because too many were asked for: `confirm`.
    """
    key.require_newsletter(None)
    sent = await bodies.json_object(request) if await request.body() else {}
    body = bodies.checked(ResumeBody, sent)
    resumed = await site.engine.write(outbox.resume, site.house, body.transport or None)
    log.info("mail_resumed", key=key.id, transports=resumed)
    site.wake()
    return Resumed(resumed=resumed)
