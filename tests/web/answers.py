"""What tests of the web send and say about answers."""

import json
from typing import Any

import httpx
import pytest

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)

VARY = "Accept, Origin"
MARK = "zq7secret"
"""Put into bad values; it must not come back in a problem."""


def problem(response: httpx.Response, status: int, name: str) -> dict[str, Any]:
    """Check that the answer is a problem of this name (RFC 9457); return its members."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    members: dict[str, Any] = response.json()
    assert members["type"] == f"urn:newsletter:problem:{name}"
    assert members["status"] == status
    assert members["title"]
    assert members["detail"]
    assert MARK not in response.text
    if status in {429, 503}:
        assert int(response.headers["retry-after"]) > 0
    if name == "invalid":
        assert members["errors"]
        assert all({"pointer", "detail"} <= set(fault) for fault in members["errors"])
    return members


def faults(response: httpx.Response) -> list[str]:
    """Check that the answer is a 422 problem; return the pointers of its errors."""
    return [fault["pointer"] for fault in problem(response, 422, "invalid")["errors"]]


def html(response: httpx.Response, status: int) -> str:
    """Check that the answer is a page with this status; return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "Traceback" not in response.text
    return response.text


def body_of(kind: str, fields: dict[str, str]) -> dict[str, Any]:
    """Return the arguments that make httpx post the fields as json, urlencoded or multipart."""
    if kind == "json":
        return {"json": {**fields, "consent": True}}
    if kind == "urlencoded":
        return {"data": fields}
    return {"files": {name: (None, value) for name, value in fields.items()}}


def as_json(body: object) -> dict[str, Any]:
    """Return the arguments that make httpx post JSON in escapes, surrogates included."""
    return {
        "content": json.dumps(body).encode(),
        "headers": {"Content-Type": "application/json"},
    }
