"""Errors as answers: which status each has, and RFC 9457 problem details in JSON."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi.responses import Response

from app.domain import errors
from app.domain.errors import Problem

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "5"
"""Seconds; the database is usually back by then, and the waiting line worked off."""

_TABLE: dict[type[Problem], tuple[int, str, str]] = {
    errors.Unreadable: (400, "unreadable", "The request cannot be read"),
    errors.Unauthenticated: (401, "unauthenticated", "A valid key is needed"),
    errors.Distrusted: (401, "unauthenticated", "A valid key is needed"),
    errors.Forbidden: (403, "forbidden", "The key may not do this"),
    errors.NotFound: (404, "not-found", "Not found"),
    errors.Conflict: (409, "conflict", "Conflict"),
    errors.Gone: (410, "gone", "No longer valid"),
    errors.UnsupportedMedia: (415, "unsupported-media-type", "This kind of body is not taken"),
    errors.Invalid: (422, "invalid", "Some values are not valid"),
    errors.TooMany: (429, "too-many-requests", "Too many requests"),
    errors.NoPolicy: (503, "no-policy", "Not open yet"),
    errors.Unreachable: (503, "unreachable", "Somebody we need does not answer"),
    errors.Unavailable: (503, "unavailable", "The database is away"),
    errors.Unmigrated: (503, "unavailable", "The database is not ready"),
    errors.Busy: (503, "busy", "Too busy"),
}

_BY_STATUS: dict[int, tuple[str, str, str]] = {
    400: ("unreadable", "The request cannot be read", "Send a well-formed request."),
    404: ("not-found", "Not found", "There is nothing at this address."),
    405: ("method-not-allowed", "Method not allowed", "See the Allow header for what is."),
    413: ("too-large", "Too large", "Send a smaller body."),
    500: ("internal", "Something went wrong", "It has been logged. Try again later."),
}


def is_api_path(path: str) -> bool:
    """Tell whether errors on this path are answered as JSON; all others are pages."""
    machines = {"/v1", "/healthz", "/readyz", "/metrics", "/openapi.json"}
    return path.startswith("/v1/") or path in machines


def of(problem: Problem) -> dict[str, Any]:
    """Return the members of the problem."""
    status, name, title = _TABLE[type(problem)]
    members = _members(status, name, title, problem.detail)
    if isinstance(problem, errors.Invalid):
        members["errors"] = [
            {"pointer": fault.pointer, "detail": fault.detail, **fault.extra}
            for fault in problem.faults
        ]
    return members


def of_status(status: int) -> dict[str, Any]:
    """Return the members for an error that the framework found."""
    unknown = ("error", "The request failed", "Check the request.")
    return _members(status, *_BY_STATUS.get(status, unknown))


def _members(status: int, name: str, title: str, detail: str) -> dict[str, Any]:
    kind = f"urn:newsletter:problem:{name}"
    return {"type": kind, "title": title, "status": status, "detail": detail}


def headers_for(problem: Problem) -> dict[str, str]:
    """Return the headers that only this problem knows: when to come back (RFC 6585)."""
    return {"Retry-After": str(problem.seconds)} if isinstance(problem, errors.TooMany) else {}


def headers_of(status: int) -> dict[str, str]:
    """Return the headers that the status calls for (RFC 9110)."""
    if status == 503:  # noqa: PLR2004
        return {"Retry-After": RETRY_AFTER}
    return {"WWW-Authenticate": 'Bearer realm="newsletter"'} if status == 401 else {}  # noqa: PLR2004


def as_json(members: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer."""
    status = members["status"]
    body = json.dumps(members, ensure_ascii=False).encode()
    return Response(body, status, {**headers_of(status), **(headers or {})}, MEDIA_TYPE)


_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


def documented(*statuses: int, page: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of a route for its OpenAPI description.

    `page`: people's browsers get a page instead.
    """
    titles = {status: title for status, _, title in _TABLE.values()}
    titles |= {status: title for status, (_, title, _) in _BY_STATUS.items()}
    content: dict[str, Any] = {MEDIA_TYPE: {"schema": _SCHEMA}}
    if page:
        content["text/html"] = {"schema": {"type": "string"}}
    return {status: {"description": titles[status], "content": content} for status in statuses}
