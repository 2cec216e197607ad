"""`GET /v1/challenge`: what a form has to solve before it may sign somebody up."""

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.domain.errors import NotFound
from app.services import challenges
from app.web import problems
from app.web.deps import AnySite

router = APIRouter(tags=["public"])

_HEADERS = {"Cache-Control": "no-store", "Access-Control-Allow-Origin": "*"}
"""Anybody may read it: it says nothing, and is worth nothing unsolved."""


class Challenge(BaseModel):
    """Find the number up to `maxNumber` so that the hash of salt and number is the challenge."""

    algorithm: str
    challenge: str
    maxNumber: int  # noqa: N815 - as ALTCHA's widget reads it
    salt: str
    signature: str


@router.get("/v1/challenge", response_model=Challenge, responses=problems.documented(404))
async def challenge(site: AnySite) -> Response:
    """Return a new challenge of ALTCHA; 404 if this installation asks for no proof of work."""
    if not site.house.proof_of_work:
        raise NotFound("No proof of work is needed here.")
    made: dict[str, Any] = challenges.make(site.house)
    return JSONResponse(made, headers=_HEADERS)
