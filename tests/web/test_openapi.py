"""The description of the API is true: schemathesis sends what it allows and what it does not."""

import asyncio

import httpx
import pytest
import schemathesis
from schemathesis.engine import from_schema
from schemathesis.engine.events import NonFatalError, ScenarioFinished
from schemathesis.engine.recorder import ScenarioRecorder

from app.db.engine import open_engine
from app.main import create_app
from app.services import keys, newsletters, policies
from app.services.house import House
from app.services.keys import Scope, Wish
from app.settings import Settings
from tests.conftest import Clock
from tests.web.answers import on_sqlite

EXAMPLES = 25


@pytest.fixture
def key(database: str, clock: Clock) -> str:
    """Make it possible to sign up; return the key of an admin."""

    async def prepare() -> str:
        engine = open_engine(database)
        named = {"slug": "insights", "name": "Insights", "from_address": "in@example.org"}
        await engine.write(newsletters.create, {**named, "is_default": True}, clock.now)
        await engine.write(policies.publish, "1", "https://example.org/p", "A text.", clock.now)
        made = await engine.write(keys.create, Wish(name="test", scopes=[Scope.ADMIN]), clock.now)
        await engine.close()
        return made

    return asyncio.run(prepare())


@pytest.mark.anyio
@on_sqlite
async def test_each_call_names_every_status_that_it_answers(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    named = {
        f"{method.upper()} {path}": " ".join(sorted(operation["responses"]))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert named == {
        "POST /v1/subscriptions": "202 303 400 413 415 422 429 503",
        "GET /v1/challenge": "200 404",
        "GET /v1/newsletters/{slug}/form": "200 404 503",
        "GET /v1/newsletters": "200 401 503",
        "POST /v1/newsletters": "201 400 401 403 409 413 415 422 503",
        "GET /v1/newsletters/{slug}": "200 401 403 404 503",
        "PATCH /v1/newsletters/{slug}": "200 400 401 403 404 413 415 422 503",
        "GET /v1/policies": "200 401 503",
        "POST /v1/policies": "201 400 401 403 409 413 415 422 503",
        "GET /v1/policies/{version}": "200 401 404 503",
        "GET /v1/subscribers": "200 401 403 422 503",
        "GET /v1/subscribers/{subscriber}": "200 401 403 404 503",
        "GET /v1/subscribers/{subscriber}/consent": "200 401 403 404 503",
        "POST /v1/feedback/{provider}": "200 400 401 403 404 413 422 503",
        "GET /v1/outbox": "200 401 403 422 503",
        "POST /v1/outbox/{message}/retry": "200 401 403 404 409 503",
        "POST /v1/outbox/resume": "200 400 401 403 413 415 422 503",
        "GET /v1/suppressions": "200 401 403 422 503",
        "POST /v1/suppressions": "200 201 400 401 403 413 415 422 503",
        "DELETE /v1/suppressions/{suppression}": "204 401 403 404 409 422 503",
        "GET /healthz": "200",
        "GET /readyz": "200 503",
        "GET /newsletters/{slug}/form.js": "200 304 404 503",
        "GET /confirm/{token}": "200 404 410 503",
        "POST /confirm/{token}": "200 404 410 503",
        "GET /unsubscribe/{token}": "200 404 503",
        "POST /unsubscribe/{token}": "200 404 503",
        "POST /unsubscribe/{token}/undo": "200 404 410 503",
        "GET /preferences/{token}": "200 404 410 503",
        "POST /preferences/{token}": "200 400 404 410 413 415 422 503",
        "GET /preferences/{token}/data": "200 404 410 503",
        "POST /preferences/{token}/erase": "200 400 404 410 413 415 422 503",
        "GET /preferences": "200",
        "POST /preferences": "200 400 413 415 422 429 503",
        "POST /unsubscribe/{token}/reason": "200 400 404 413 415 422 503",
    }
    linked = {
        path
        for path, operations in document["paths"].items()
        if "Link"
        in operations.get("get", {}).get("responses", {}).get("200", {}).get("headers", {})
    }
    assert linked == {"/v1/outbox", "/v1/suppressions"}
    closed = {
        path
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if operation.get("security")
    }
    assert closed == {p for p in document["paths"] if p.startswith("/v1/")} - {
        "/v1/subscriptions",
        "/v1/challenge",
        "/v1/newsletters/{slug}/form",
        "/v1/feedback/{provider}",  # each provider proves itself in its own way
    }


@on_sqlite
@pytest.mark.parametrize("who", ["admin", "stranger"])
def test_schemathesis_finds_nothing(settings: Settings, house: House, key: str, who: str) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(settings, house=house))
    config = schema.config
    config.generation.max_examples = EXAMPLES
    config.generation.deterministic = True
    config.phases.update(phases=["examples", "coverage", "fuzzing"])  # nothing links the calls
    # Formats and sizes are described, but not that an address is deliverable, that a newsletter
    # or cursor is known, or that a change holds at least one value: those are 422 by contract.
    config.checks.positive_data_acceptance.enabled = False
    if who == "admin":
        config.update(headers={"Authorization": f"Bearer {key}"})
    found: dict[str, str] = {}
    statuses: set[int] = set()
    for event in from_schema(schema).execute():
        if isinstance(event, NonFatalError):
            found[event.label] = str(event.value)
        if isinstance(event, ScenarioFinished):
            found |= _failures(event.recorder)
            answers = [made.response for made in event.recorder.interactions.values()]
            statuses |= {answer.status_code for answer in answers if answer is not None}
    assert not found, "\n\n".join(f"{name}: {reason}" for name, reason in found.items())
    reached = {200, 202, 400, 404, 405, 415, 422}
    assert statuses >= reached | ({201, 409} if who == "admin" else {401})


def _failures(recorder: ScenarioRecorder) -> dict[str, str]:
    return {
        f"{recorder.label} {check.name}": f"{info.failure.message} {info.code_sample}"
        for checks in recorder.checks.values()
        for check in checks
        if (info := check.failure_info) is not None
    }
