"""Proof of work: a challenge costs a browser about a second, and whoever sends many a lot."""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from altcha.v1 import (
    ChallengeOptions,
    Payload,
    create_challenge,
    extract_params,
    hmac_hex,
    verify_solution,
)
from sqlalchemy.engine import Connection

from app.db import challenges
from app.domain.budget import keyed_hash
from app.domain.errors import Fault, Invalid
from app.services.commands import Proof
from app.services.house import House

LIFETIME = timedelta(minutes=10)
MAX_NUMBER = 100_000
"""The browser counts up to this at most, and to half of it on average."""

_ALGORITHM: Literal["SHA-256"] = "SHA-256"
_NUMBERS = range(MAX_NUMBER + 1)
_KEPT_LONGER = timedelta(hours=1)
"""Clocks differ: what one process takes for over may still be valid for another."""


def make(house: House) -> dict[str, Any]:
    """Return a new challenge of ALTCHA; nothing is kept of it."""
    options = ChallengeOptions(
        algorithm=_ALGORITHM,
        max_number=MAX_NUMBER,
        hmac_key=_key(house),
        expires=house.clock() + LIFETIME,
    )
    return create_challenge(options).to_dict()


def check(house: House, solution: str | None) -> Proof:
    """Return the proof that the door spends; raises Invalid if it does not solve one of ours."""
    payload = _payload(solution or "")
    if payload is None:
        raise refused()
    signature = hmac_hex(_ALGORITHM, payload.challenge.encode(), _key(house))
    if not hmac.compare_digest(signature.encode(), payload.signature.encode()):
        raise refused()
    if not verify_solution(payload, _key(house), check_expires=False)[0]:
        raise refused()
    [seconds] = extract_params(payload.to_dict())["expires"]
    expires_at = datetime.fromtimestamp(int(seconds), UTC)
    if expires_at <= house.clock():
        raise refused()
    return Proof(payload.challenge, expires_at)


def refused() -> Invalid:
    """Return what is said of every solution that does not count, whatever is wrong with it."""
    detail = "The check that keeps robots out did not succeed. Please send the form again."
    return Invalid([Fault("/altcha", detail, {"challenge": "/v1/challenge"})])


def _key(house: House) -> str:
    return keyed_hash(house.hash_key, "proof of work", "")


def _payload(solution: str) -> Payload | None:
    """Read Base64 of a JSON object with exactly what counts in it, as the types that it has."""
    try:
        found = json.loads(base64.b64decode(solution.encode(), validate=True).decode())
    except (ValueError, RecursionError):
        return None
    texts = ("algorithm", "challenge", "salt", "signature")
    if not isinstance(found, dict) or not all(_is_ascii(found.get(name)) for name in texts):
        return None
    number = found.get("number")
    if found["algorithm"] != _ALGORITHM or type(number) is not int or number not in _NUMBERS:
        return None
    _, challenge, salt, signature = (found[name] for name in texts)
    return Payload(_ALGORITHM, challenge, number, salt, signature)


def _is_ascii(value: object) -> bool:
    return isinstance(value, str) and value.isascii()


def forget(connection: Connection, house: House) -> None:
    """Remove spent challenges that nobody would take any more."""
    challenges.forget(connection, house.clock() - _KEPT_LONGER)
