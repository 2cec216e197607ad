"""The log says what happened and where, and nothing that a request carried."""

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from starlette.types import Message
from structlog.testing import capture_logs

from app.db.engine import Engine
from tests.conftest import SignUp
from tests.web.answers import html, on_sqlite, problem
from tests.web.conftest import Paths

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]

SECRET = "zq7secret"  # noqa: S105 - a mark, to be looked for
HEADERS = {
    "Referer": f"https://www.example.org/{SECRET}",
    "User-Agent": SECRET,
    "X-Forwarded-For": "198.51.100.7",
    "Cookie": f"a={SECRET}",
}


async def test_a_line_has_method_route_status_and_time_only(
    client: httpx.AsyncClient, sign_up: SignUp, paths: Paths, admin: dict[str, str]
) -> None:
    client.headers.update(HEADERS)
    with capture_logs() as lines:
        await sign_up(f"{SECRET}@example.org", name=SECRET)
        links = await paths()
        await client.get(links["confirm"])
        await client.post(links["confirm"])
        await client.head(links["unsubscribe"])
        await client.post(links["unsubscribe"])
        await client.get(f"/confirm/{SECRET}")
        await client.get(f"/{SECRET}?q={SECRET}")
        await client.get("/v1/subscribers", params={"q": SECRET}, headers=admin)
        await client.get(f"/v1/subscribers/{SECRET}@example.org/consent", headers=admin)
        await client.get("/v1/subscribers", headers={"Authorization": f"Bearer nl_{SECRET}_x"})
        await client.post("/v1/subscriptions", json={"email": SECRET, SECRET: 1})
        await client.delete(f"/v1/newsletters/{SECRET}")
        await client.get(f"/static/{SECRET}")
    assert all(line.pop("ms") >= 0 for line in lines)
    assert all(set(line) == {"event", "log_level", "method", "route", "status"} for line in lines)
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/v1/subscriptions", 202),
        ("GET", "/confirm/{token}", 200),
        ("POST", "/confirm/{token}", 200),
        ("HEAD", "/unsubscribe/{token}", 200),
        ("POST", "/unsubscribe/{token}", 200),
        ("GET", "/confirm/{token}", 404),
        ("GET", "unmatched", 404),
        ("GET", "/v1/subscribers", 200),
        ("GET", "/v1/subscribers/{subscriber}/consent", 200),
        ("GET", "/v1/subscribers", 401),
        ("POST", "/v1/subscriptions", 422),
        ("DELETE", "/v1/newsletters/{slug}", 405),
        ("GET", "unmatched", 404),
    ]


async def test_what_was_not_foreseen_is_logged_without_its_values(
    client: httpx.AsyncClient, sign_up: SignUp, paths: Paths, engine: Engine
) -> None:
    await sign_up()
    links = await paths()
    unforeseen = text("UPDATE newsletters SET allowed_origins = 'null', revision = revision + 1")
    await engine.write(lambda c: c.execute(unforeseen).rowcount)
    client.headers.update(HEADERS)
    with capture_logs() as lines:
        problem(await sign_up(f"{SECRET}@example.org", name=SECRET), 500, "internal")
        broken = await client.get(links["confirm"])
    page = html(broken, 500)
    assert "Error 500" in page
    for shown in (page, str(lines)):
        assert SECRET not in shown
        assert links["confirm"] not in shown
        assert "SELECT" not in shown
    failed = [line for line in lines if line["event"] == "request_failed"]
    assert all(set(line) == {"event", "log_level", "error", "where"} for line in failed)
    assert all(line["error"] and line["where"] for line in failed)
    assert [line["status"] for line in lines if line["event"] == "request"] == [500, 500]


@on_sqlite
async def test_who_hangs_up_is_no_failure_of_ours(app: FastAPI) -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/subscriptions",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": None,
    }
    with capture_logs() as lines:
        await app(scope, receive, send)
    assert [(line["event"], line["status"]) for line in lines] == [("request", 499)]
