"""Versions of the privacy policy: published once, never changed."""

from datetime import datetime

from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from app.db import policies
from app.db.policies import Policy
from app.domain.errors import Conflict
from app.services.consents import sha256


def publish(connection: Connection, version: str, url: str, text: str, now: datetime) -> Policy:
    """Publish a version, which becomes the current one. Raises Conflict if the label is taken."""
    if policies.read(connection, version) is not None:
        raise Conflict("This version has been published already; versions never change.")
    policy = Policy(version, url, sha256(text), now)
    try:
        policies.add(connection, policy, text)
    except IntegrityError as error:
        raise Conflict("This version has been published already.") from error
    return policy
