import hashlib

import httpx
import pytest

from tests.conftest import Clock
from tests.web.answers import MARK, as_json, faults, html, problem
from tests.web.conftest import Stored

pytestmark = [pytest.mark.anyio]


@pytest.fixture(autouse=True)
def _as_admin(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    client.headers.update(admin)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def test_policies_are_published_once_and_stay(
    client: httpx.AsyncClient, stored: Stored, clock: Clock
) -> None:
    body = {"version": "2026/01 beta", "url": "https://example.org/p", "text": " The\r\ntext. "}
    made = await client.post("/v1/policies", json=body)
    assert made.status_code == 201
    shown = made.json()
    assert set(shown) == {"version", "url", "sha256", "published_at"}
    assert shown["sha256"] == sha256("The\ntext.")
    before = await stored()
    problem(await client.post("/v1/policies", json={**body, "text": "X"}), 409, "conflict")
    assert await stored() == before
    read = (await client.get("/v1/policies/2026%2F01%20beta")).json()
    assert read == {**shown, "text": "The\ntext."}
    clock.advance(days=1)
    await client.post("/v1/policies", json={**body, "version": "2"})
    items = (await client.get("/v1/policies")).json()["items"]
    assert [item["version"] for item in items] == ["2", "2026/01 beta"]
    assert "The\ntext." in html(await client.get("/privacy"), 200)
    for version in ("nope", "%00", "%ff", "x" * 5_000):
        problem(await client.get(f"/v1/policies/{version}"), 404, "not-found")
    for method in ("PUT", "PATCH", "DELETE"):
        answer = await client.request(method, "/v1/policies/2", json=body)
        problem(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == "GET, HEAD"


async def test_a_bad_policy_is_not_published(client: httpx.AsyncClient, stored: Stored) -> None:
    before = await stored()
    good = {"version": "1", "url": "https://example.org/p", "text": "A text."}
    for name, bad in (
        *(
            ("version", bad)
            for bad in ("", " ", "x" * 51, f"{MARK}\x00", "a\nb", "\ud800", 1, None)
        ),
        *(("url", bad) for bad in ("", "/privacy", "javascript:alert(1)", "https://a b", 5)),
        *(
            ("text", bad)
            for bad in ("", "\n \n", f"{MARK}\x00", f"{MARK}\u202e", "\ud800", 5, ["x"])
        ),
        ("text", "x" * 500_001),
        ("published_at", "2020-01-01T00:00:00Z"),
    ):
        answer = await client.post("/v1/policies", **as_json({**good, name: bad}))
        assert faults(answer) == [f"/{name}"], (name, bad)
    assert await stored() == before
    long = {**good, "text": "x" * 500_000}
    assert (await client.post("/v1/policies", json=long)).status_code == 201
