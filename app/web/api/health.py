"""Whether this process is alive, and whether it can serve."""

from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.engine import Connection

from app.db import outbox, schema, transports
from app.db.transports import Pause
from app.domain.errors import Busy, Unmigrated
from app.domain.retry import Outcome
from app.services import breakers
from app.services.house import House
from app.web import problems
from app.web.deps import AnySite

router = APIRouter(tags=["health"])

_QUEUE_TOO_OLD = timedelta(minutes=5)


class Alive(BaseModel):
    """The process answers."""

    status: str


class Ready(BaseModel):
    """The process can serve; warnings are for people."""

    status: str
    warnings: list[str]


@router.get("/healthz")
async def healthz() -> Alive:
    """Tell that the process is alive."""
    return Alive(status="ok")


@router.get("/readyz", response_model=Ready, responses=problems.documented(503))
async def readyz(site: AnySite) -> Response:
    """Tell whether requests can be served; 503 if not."""
    if site.is_draining():
        raise Busy("This process is shutting down.")
    is_current, warnings = await site.engine.read(_look, site.house)
    if not is_current:
        raise Unmigrated("Migrations are pending: run newsletter migrate.")
    return JSONResponse({"status": "ready", "warnings": warnings})


def _look(connection: Connection, house: House) -> tuple[bool, list[str]]:
    if not schema.is_current(connection):
        return False, []
    held_back = breakers.warning(connection, house)
    warnings = [*_no_policy(connection, house), *_mail_waits(connection, house)]
    return True, [*warnings, *([held_back] if held_back else [])]


def _no_policy(connection: Connection, house: House) -> list[str]:
    policies = house.catalog.current(connection).policies
    return [] if policies else ["no privacy policy is published: nobody can sign up"]


def _mail_waits(connection: Connection, house: House) -> list[Any]:
    now = house.shared_clock(connection)
    resting = sorted(transports.read_all(connection).items())
    warnings = [_rests(name, pause, now) for name, pause in resting]
    oldest = outbox.oldest_due(connection, now)
    if oldest is not None and now - oldest > _QUEUE_TOO_OLD:
        warnings.append("mail has been waiting for more than 5 minutes: is a worker running?")
    if outbox.has_held(connection):
        warnings.append("some mail is held and needs a human: see GET /v1/outbox?state=held")
    return warnings


def _rests(name: str, pause: Pause, now: datetime) -> str:
    until = "until one message has probed"
    if pause.until is not None and pause.until > now:
        until = f"until {_shown(pause.until)}, when one message probes"
    advice = "It goes on by itself as soon as that works; to try at once, POST /v1/outbox/resume"
    if pause.reason.startswith(Outcome.SENDER_FAULT):
        advice = "We are not allowed to send: mend that, then POST /v1/outbox/resume"
    since = _shown(pause.since)
    return f"mail through {name} rests since {since}, {until}: {pause.reason}. {advice}"


def _shown(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
