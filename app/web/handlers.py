"""What is answered when a route fails: problem details for machines, a page for people."""

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from app.domain.errors import Invalid, Problem, Unavailable
from app.web import bodies, negotiation, problems, rendering

log = structlog.get_logger()


def add_to(app: FastAPI) -> None:
    """Answer every error that gets out of a route."""

    @app.exception_handler(Problem)
    async def refused(request: Request, problem: Exception) -> Response:
        assert isinstance(problem, Problem)  # noqa: S101 - what it is registered for
        if isinstance(problem, Unavailable):
            _log_away(problem)
        return answer(request, problems.of(problem), problems.headers_for(problem))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        shown = [{**e, "loc": e["loc"][1:]} for e in error.errors()]
        return answer(request, problems.of(Invalid(bodies.faults_of(shown))))

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        headers = {"Allow": _allowed(app, request)} if error.status_code == 405 else {}  # noqa: PLR2004
        return answer(request, problems.of_status(error.status_code), headers)


def _allowed(app: FastAPI, request: Request) -> str:
    """Return what every route at this path takes; Starlette names only the first one's methods."""
    scope = {"type": "http", "path": request.scope["path"], "root_path": "", "headers": []}
    routes = [route for route in app.router.routes if not isinstance(route, Mount)]
    found = [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ] or ["GET"]  # static files are mounted
    return ", ".join([*found, "HEAD"] if "GET" in found else found)


def _log_away(problem: Unavailable) -> None:
    """Log what tells an outage from a wrong password, and nothing that a driver's text repeats."""
    cause = problem.__cause__ or problem
    driver = cause.orig if isinstance(cause, DBAPIError) else cause
    state = getattr(driver, "sqlstate", None) or getattr(driver, "sqlite_errorname", None)
    log.warning("database_away", error=type(driver).__qualname__, state=state)


def answer(
    request: Request, members: dict[str, object], headers: dict[str, str] | None = None
) -> Response:
    """Answer machines with problem details and people with a page."""
    if request.url.path == negotiation.NEGOTIATED:
        headers = {**(headers or {}), "Vary": negotiation.VARY}
    if problems.is_api_path(request.url.path) and not negotiation.is_posted_form(request):
        return problems.as_json(members, headers)
    status = int(str(members["status"]))
    context = {**members, "action": {"url": "/", "label": "All newsletters"}}
    headers = {**problems.headers_of(status), **(headers or {}), "X-Robots-Tag": "noindex"}
    language = rendering.language_of(request)
    return rendering.page(language, "problem.html", context, status, headers)
