"""Where mail comes back to: an address for each mail, so that a bounce says which one it was."""

import re

from app.domain import address
from app.services.house import House
from app.tokens import MARK_LENGTH, Purpose, TokenInvalid

LOCAL_ROOM = address.LOCAL_LENGTH - len("+") - MARK_LENGTH
"""Octets that are left for what stands before the mark (RFC 5321 4.5.3.1.1)."""

_MOST_MARKS = 20
_MARK = re.compile(r"\+([0-9]{1,19}\.[A-Za-z2-7]{16})@")


def fit(bounce_address: str) -> str:
    """Return the address as it stands in an envelope, if a mark fits into it.

    Raises ValueError with a sentence if it does not.
    """
    fitting = address.envelope(bounce_address)
    local = fitting.rpartition("@")[0]
    if not local.isascii() or len(local) > LOCAL_ROOM:
        raise ValueError(
            f"use at most {LOCAL_ROOM} ASCII characters before the @: a mark follows them"
        )
    if len(fitting) + len("+") + MARK_LENGTH > address.EMAIL_LENGTH:
        raise ValueError("its domain is too long: a mark has to fit before the @")
    return fitting


def make(house: House, outbox_id: int) -> str | None:
    """Return the envelope sender of one mail: what bounces to it says by itself which mail it was.

    None if bounces go to the newsletter's own address.
    """
    if house.bounce_address is None:
        return None
    local, _, domain = house.bounce_address.rpartition("@")
    return f"{local}+{house.tokens.mark(Purpose.BOUNCE, outbox_id)}@{domain}"


def read(house: House, value: str) -> int | None:
    """Return the outbox id in a text of addresses, if one has a mark that we have made.

    The address before the mark does not count: BOUNCE_ADDRESS may have been another one then.
    """
    for mark in _MARK.findall(value)[:_MOST_MARKS]:
        try:
            return house.tokens.read_mark(Purpose.BOUNCE, mark)
        except TokenInvalid:
            continue
    return None
