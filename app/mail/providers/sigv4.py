"""AWS Signature Version 4: pure functions from a request to its Authorization header."""

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote, unquote, urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key; `session_token` comes with one that is temporary."""

    key: str
    secret: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a signature holds."""

    region: str
    service: str


@dataclass(frozen=True, slots=True)
class Call:
    """A request; every one of its headers is signed, and Host and X-Amz-Date with them."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes = b""


def sign(call: Call, credentials: Credentials, place: Place, at: datetime) -> dict[str, str]:
    """Return the headers to send: those of the call and Authorization; `at` is in UTC."""
    headers = {**call.headers, "Host": urlsplit(call.url).netloc, "X-Amz-Date": _stamp(at)}
    if credentials.session_token is not None:
        headers["X-Amz-Security-Token"] = credentials.session_token
    canonical = canonical_request(Call(call.method, call.url, headers, call.body))
    text = string_to_sign(canonical, place, at)
    signature = hmac.new(_key(credentials.secret, place, at), text.encode(), "sha256").hexdigest()
    headers["Authorization"] = (
        f"{_ALGORITHM} Credential={credentials.key}/{_scope(place, at)}, "
        f"SignedHeaders={_names(headers)}, Signature={signature}"
    )
    return headers


def canonical_request(call: Call) -> str:
    """Return the request in the one form that both sides hash."""
    parts = urlsplit(call.url)
    lines = sorted((name.lower(), " ".join(value.split())) for name, value in call.headers.items())
    return "\n".join(
        (
            call.method,
            quote(parts.path or "/", safe="/~"),
            _query(parts.query),
            *(f"{name}:{value}" for name, value in lines),
            "",
            _names(call.headers),
            hashlib.sha256(call.body).hexdigest(),
        )
    )


def string_to_sign(canonical: str, place: Place, at: datetime) -> str:
    """Return what is signed: when, where, and the hash of the request."""
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return "\n".join((_ALGORITHM, _stamp(at), _scope(place, at), digest))


def _key(secret: str, place: Place, at: datetime) -> bytes:
    key = f"AWS4{secret}".encode()
    for step in _scope(place, at).split("/"):
        key = hmac.digest(key, step.encode(), "sha256")
    return key


def _scope(place: Place, at: datetime) -> str:
    return f"{at:%Y%m%d}/{place.region}/{place.service}/aws4_request"


def _stamp(at: datetime) -> str:
    return f"{at:%Y%m%dT%H%M%SZ}"


def _names(headers: dict[str, str]) -> str:
    return ";".join(sorted(name.lower() for name in headers))


def _query(query: str) -> str:
    """Sort by name, then by value, as they are when encoded."""
    pairs = [part.partition("=") for part in query.split("&") if part]
    encoded = sorted((_encoded(name), _encoded(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def _encoded(value: str) -> str:
    return quote(unquote(value), safe="~")
