"""Keyset cursors: signed, bound to the list, filters and order they were given for."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from app.domain.errors import Fault, Invalid
from app.services.house import House
from app.tokens import Purpose, TokenError
from app.web import bodies

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FINGERPRINT_BYTES = 16
MOMENT_BYTES = 8

_LINK = {"description": "The next page (RFC 8288), if there is one", "schema": {"type": "string"}}
LINKED: dict[int | str, dict[str, Any]] = {200: {"headers": {"Link": _LINK}}}
"""What `next_link` adds, for the OpenAPI description of a list."""


class PageQuery(BaseModel):
    """Which page of a list; a parameter that the list does not know is refused."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50


def refuse_repeated(request: Request) -> None:
    """Raise Invalid if a parameter stands twice, since nobody knows which value was meant."""
    bodies.refuse_repeated([name for name, _ in request.query_params.multi_items()])


def give(house: House, question: object, place: bytes) -> str:
    """Return a cursor for what follows a place; no address in it, for cursors are in URLs.

    `question`: the list, its filters and order, as JSON and times can write them.
    """
    return house.tokens.sign(Purpose.CURSOR, _fingerprint(question) + place, house.clock())


def take(house: House, question: object, cursor: str) -> bytes:
    """Return the place that a cursor of this very question stands for; else raise Invalid."""
    try:
        payload = house.tokens.read(Purpose.CURSOR, cursor, house.clock())
    except TokenError as error:
        raise Invalid([Fault("/cursor", "This is not a cursor that we gave.")]) from error
    if payload[:_FINGERPRINT_BYTES] != _fingerprint(question):
        detail = "This cursor belongs to other filters or another order."
        raise Invalid([Fault("/cursor", detail)])
    return payload[_FINGERPRINT_BYTES:]


def _fingerprint(question: object) -> bytes:
    shown = json.dumps(question, default=datetime.isoformat, sort_keys=True)
    return hashlib.sha256(shown.encode()).digest()[:_FINGERPRINT_BYTES]


def moment_bytes(moment: datetime) -> bytes:
    """Return a time as a part of a place, exact to the microsecond."""
    since = (moment - _EPOCH) // timedelta(microseconds=1)
    return since.to_bytes(MOMENT_BYTES, "big", signed=True)


def moment(place: bytes) -> datetime:
    """Return the time that `moment_bytes` packed."""
    return _EPOCH + timedelta(microseconds=int.from_bytes(place, "big", signed=True))


def next_link(house: House, request: Request, cursor: str | None) -> dict[str, str]:
    """Return the header that leads to the next page (RFC 8288), if there is one."""
    if cursor is None:
        return {}
    query = urlencode({**request.query_params, "cursor": cursor})
    return {"Link": f'<{house.base_url}{request.url.path}?{query}>; rel="next"'}
