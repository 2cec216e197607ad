"""Whether this process is alive, and whether it can serve."""

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.engine import Connection

from app.db import outbox, schema, transports
from app.domain.errors import Busy, Unmigrated
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
    return True, [*_no_policy(connection, house), *_mail_waits(connection, house)]


def _no_policy(connection: Connection, house: House) -> list[str]:
    policies = house.catalog.current(connection).policies
    return [] if policies else ["no privacy policy is published: nobody can sign up"]


def _mail_waits(connection: Connection, house: House) -> list[Any]:
    warnings = [
        f"mail through {name} rests: {pause.reason}"
        for name, pause in transports.read_all(connection).items()
    ]
    now = house.shared_clock(connection)
    oldest = outbox.oldest_due(connection, now)
    if oldest is not None and now - oldest > _QUEUE_TOO_OLD:
        warnings.append("mail has been waiting for more than 5 minutes: is a worker running?")
    if outbox.has_held(connection):
        warnings.append("some mail is held: it could not be sent and needs a human")
    return warnings
