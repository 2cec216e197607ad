"""What may stand in a mail: each function returns the value made safe, or raises ComposeError."""

import re
from datetime import UTC, datetime

from app.domain import address as addresses
from app.domain.text import clean

ADDRESS_OCTETS = 254
URL_LENGTH = 900
"""Its line of 998 octets also holds the name of the header."""

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u00a1-\U0010ffff-]+"
_ADDRESS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@[A-Za-z0-9.-]+")
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
_LABELS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


class ComposeError(ValueError):
    """Raised for a mail that cannot be made; it names the wrong value and never repeats it."""


def line(value: str, what: str, maximum: int = 200) -> str:
    """Return a text that is allowed in a header."""
    try:
        return clean(value, maximum, header=True)
    except ValueError as error:
        raise ComposeError(f"{what}: {error}") from error


def paragraph(value: str, what: str, maximum: int = 5_000) -> str:
    """Return a text of one or more lines for a body."""
    try:
        return clean(value, maximum, multiline=True)
    except ValueError as error:
        raise ComposeError(f"{what}: {error}") from error


def address(value: str, what: str) -> str:
    """Return an address for the envelope and for a header: a dot-atom, the domain as A-label.

    Nothing in it can end a header, open a comment, or be taken for a second address.
    """
    envelope = _with_ascii_domain(value, what)
    fits = len(envelope.encode(errors="replace")) <= ADDRESS_OCTETS
    plain = envelope.isprintable() and "=?" not in envelope
    if not (fits and plain and _ADDRESS.fullmatch(envelope)):
        raise ComposeError(f"{what}: this is not a plain e-mail address.")
    return envelope


def _with_ascii_domain(value: str, what: str) -> str:
    if value.rpartition("@")[2].isascii():
        return value
    try:
        return addresses.envelope(value)
    except ValueError as error:
        raise ComposeError(f"{what}: {error}") from error


def url(value: str, what: str) -> bytes:
    """Return an absolute http or https URL, in the characters of RFC 3986."""
    if len(value) > URL_LENGTH or not _URL.fullmatch(value):
        raise ComposeError(f"{what}: this is not a plain URL of at most {URL_LENGTH} characters.")
    return value.encode("ascii")


def host(value: str) -> str:
    """Return a host name as A-labels."""
    if value.isascii():
        return label(value, "host")
    return label(_with_ascii_domain(f"postmaster@{value}", "host").partition("@")[2], "host")


def label(value: str, what: str) -> str:
    """Return a slug or host name that can stand in List-Id and Message-ID."""
    if not _LABELS.fullmatch(value):
        raise ComposeError(f"{what}: use letters, digits, dots and hyphens.")
    return value


def moment(value: datetime) -> datetime:
    """Return a time in UTC; one without a time zone could be any."""
    if value.utcoffset() is None:
        raise ComposeError("created_at: the time has no time zone.")
    return value.astimezone(UTC)
