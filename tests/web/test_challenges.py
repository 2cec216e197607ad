"""Proof of work: each solution counts once, on the form and as JSON, in every process."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import httpx
import pytest
from altcha.v1 import Challenge, Payload, Solution, solve_challenge

from app.db import tables
from app.db.engine import Engine
from app.main import create_app
from app.services import challenges
from app.services.challenges import LIFETIME
from app.services.house import House
from app.settings import Settings
from tests.conftest import BASE_URL, Clock, SignUp
from tests.web.answers import body_of, faults, html, problem

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]

Rows = Callable[..., Awaitable[list[dict[str, Any]]]]


@pytest.fixture
async def guarded(settings: Settings, house: House) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Two services on one database that ask for proof of work."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(2):
            app = create_app(settings, house=replace(house, proof_of_work=True))
            await stack.enter_async_context(app.router.lifespan_context(app))
            transport = httpx.ASGITransport(app=app)
            client = httpx.AsyncClient(transport=transport, base_url=BASE_URL)
            opened.append(await stack.enter_async_context(client))
        yield opened


async def solved(client: httpx.AsyncClient) -> dict[str, Any]:
    """Fetch a challenge as a browser does, and solve it."""
    answer = await client.get("/v1/challenge")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["access-control-allow-origin"] == "*"
    given = answer.json()
    parts = [given[n] for n in ("algorithm", "challenge", "maxNumber", "salt", "signature")]
    found = await asyncio.to_thread(solve_challenge, Challenge(*parts))
    assert isinstance(found, Solution)
    names = ("algorithm", "challenge", "salt", "signature")
    algorithm, challenge, salt, signature = (given[name] for name in names)
    return dict(Payload(algorithm, challenge, found.number, salt, signature).to_dict())


def encoded(payload: Any) -> str:  # noqa: ANN401 - whatever a robot sends
    return base64.b64encode(json.dumps(payload).encode()).decode()


async def post(
    client: httpx.AsyncClient, altcha: str | None, email: str = "ann@example.org"
) -> httpx.Response:
    body = {"email": email, "consent": True, **({} if altcha is None else {"altcha": altcha})}
    return await client.post("/v1/subscriptions", json=body)


async def test_a_solution_counts_once(guarded: list[httpx.AsyncClient], rows: Rows) -> None:
    client = guarded[0]
    altcha = encoded(await solved(client))
    assert (await post(client, altcha)).status_code == 202
    for email in ("ann@example.org", "bob@example.org"):
        again = await post(client, altcha, email)
        assert faults(again) == ["/altcha"]
        assert again.json()["errors"][0]["challenge"] == "/v1/challenge"
    assert [row["email"] for row in await rows(tables.subscribers)] == ["ann@example.org"]


async def test_also_when_sent_to_two_processes_at_once(
    guarded: list[httpx.AsyncClient], rows: Rows
) -> None:
    altcha = encoded(await solved(guarded[0]))
    answers = await asyncio.gather(
        *(post(guarded[n % 2], altcha, f"reader{n}@example.org") for n in range(20))
    )
    assert sorted(answer.status_code for answer in answers) == [202] + [422] * 19
    assert len(await rows(tables.subscribers)) == 1


async def test_another_spelling_of_a_solution_is_the_same(
    guarded: list[httpx.AsyncClient],
) -> None:
    payload = await solved(guarded[0])
    assert (await post(guarded[0], encoded(payload))).status_code == 202
    for same in (dict(reversed(payload.items())), {**payload, "took": 5}):
        assert faults(await post(guarded[0], encoded(same))) == ["/altcha"]


async def test_what_is_no_solution_is_refused(guarded: list[httpx.AsyncClient]) -> None:
    client = guarded[0]
    payload = await solved(client)
    salt, _, parameters = payload["salt"].partition("?")
    other = {**payload, "algorithm": "SHA-512"}
    longer = {**payload, "salt": f"{salt}?expires=99999999999&"}
    spliced = {**payload, "salt": f"{salt}?{parameters}{str(payload['number'])[0]}"}
    wrong = [None, "", "x", "====", "w6Q=", encoded([]), encoded({}), encoded(None)]
    wrong += [encoded({**payload, "number": n}) for n in (payload["number"] + 1, -1, "5", True)]
    wrong += [encoded({**payload, "number": 1.5}), encoded({**payload, "number": 10**30})]
    wrong += [encoded({**payload, "signature": s}) for s in ("", "ä", "\ud800", "0" * 64, 5)]
    wrong += [encoded({**payload, "challenge": c}) for c in ("", "0" * 64, "\ud800", None)]
    wrong += [encoded(changed) for changed in (other, longer, spliced)]
    wrong += [base64.b64encode(b"[" * 1_000).decode(), base64.b64encode(b"\xff").decode()]
    for altcha in wrong:
        answer = await post(client, altcha)
        assert faults(answer) == ["/altcha"], altcha
    assert (await post(client, encoded(payload))).status_code == 202


async def test_a_solution_is_valid_for_ten_minutes_and_forgotten_later(
    guarded: list[httpx.AsyncClient], engine: Engine, house: House, clock: Clock, rows: Rows
) -> None:
    late, timely = await solved(guarded[0]), await solved(guarded[0])
    clock.now += LIFETIME - (LIFETIME / 100)
    assert (await post(guarded[0], encoded(timely))).status_code == 202
    clock.now += LIFETIME / 100
    assert faults(await post(guarded[0], encoded(late))) == ["/altcha"]
    await engine.write(challenges.forget, house)
    assert len(await rows(tables.spent_challenges)) == 1
    clock.advance(hours=1, minutes=1)
    await engine.write(challenges.forget, house)
    assert await rows(tables.spent_challenges) == []
    assert faults(await post(guarded[0], encoded(timely))) == ["/altcha"]


@pytest.mark.parametrize("kind", ["urlencoded", "multipart"])
async def test_a_form_needs_one_too(guarded: list[httpx.AsyncClient], kind: str) -> None:
    client = guarded[0]
    form = {"email": "ann@example.org", "consent": "on"}
    browser = {"Accept": "text/html"}
    page = html(await client.post("/v1/subscriptions", **body_of(kind, form), headers=browser), 422)
    assert "The check that keeps robots out did not succeed." in page
    assert 'value="ann@example.org"' in page
    form["altcha"] = encoded(await solved(client))
    answer = await client.post("/v1/subscriptions", **body_of(kind, form), headers=browser)
    assert answer.status_code == 303


async def test_the_hosted_form_brings_the_script_and_no_other_may_run(
    guarded: list[httpx.AsyncClient], client: httpx.AsyncClient
) -> None:
    answer = await guarded[0].get("/newsletters/insights")
    page = html(answer, 200)
    assert 'data-challenge="/v1/challenge"' in page
    assert "<script src=" in page
    assert '<noscript><p class="fault">This form needs JavaScript' in page
    assert "run no scripts" not in page
    assert "script-src 'self'; connect-src 'self'" in answer.headers["content-security-policy"]
    plain = await client.get("/newsletters/insights")
    assert "<script" not in plain.text
    assert "script-src" not in plain.headers["content-security-policy"]


async def test_where_none_is_asked_for_none_is_needed(
    client: httpx.AsyncClient, sign_up: SignUp
) -> None:
    problem(await client.get("/v1/challenge"), 404, "not-found")
    assert (await sign_up(altcha="anything")).status_code == 202
