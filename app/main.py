"""Puts the parts together: engine, door, routers, problem handlers, and the worker."""

import asyncio
import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from app.db.engine import Engine, open_engine
from app.db.wakeups import Wakeups, open_wakeups
from app.domain.errors import Invalid, Problem, Unavailable
from app.mail import dkim
from app.mail.transport import open_transport
from app.services import bounces, subscriptions
from app.services.commands import Command, Result
from app.services.groups import Groups, Run
from app.services.house import House
from app.settings import Settings, SettingsError
from app.tokens import Tokens
from app.web import bodies, negotiation, problems, rendering
from app.web.api import health, newsletters, policies, subscribers
from app.web.api import subscriptions as api_subscriptions
from app.web.deps import Site
from app.web.envelope import Envelope
from app.web.limits import BodyLimit
from app.web.pages import confirm, mailbox, sign_up, unsubscribe
from app.worker.loop import Worker

log = structlog.get_logger()

_PR_SET_PDEATHSIG = 1
_DESCRIPTION = "Newsletter subscriptions with double opt-in and provable consent."


class _Service(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Describe the API without FastAPI's own 422, which has another shape than ours."""
        if self.openapi_schema is None:
            document = super().openapi()
            for operation in [o for path in document["paths"].values() for o in path.values()]:
                if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                    del operation["responses"]["422"]
            for unused in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(unused, None)
            self.openapi_schema = document
        return self.openapi_schema


def house_of(settings: Settings) -> House:
    """Return the rules of the installation. Raises SettingsError that names what is wrong."""
    return House(
        base_url=settings.base_url,
        tokens=Tokens(tuple(key.get_secret_value() for key in settings.secret_keys)),
        hash_key=settings.hash_key.get_secret_value().encode(),
        confirm_ttl=settings.confirm_ttl,
        confirm_cooldown=settings.confirm_cooldown,
        mail_rates=settings.mail_rate,
        domain_rates=settings.mail_domain_rates,
        bounce_address=_bounce_address_of(settings),
        dkim=_signer_of(settings),
    )


def _bounce_address_of(settings: Settings) -> str | None:
    try:
        return settings.bounce_address and bounces.fit(settings.bounce_address)
    except ValueError as error:
        raise SettingsError(f"NEWSLETTER_BOUNCE_ADDRESS: {error}") from error


def _signer_of(settings: Settings) -> dkim.Signer | None:
    """Return what signs our mail; nothing does where no setting of it is made."""
    domain, selector, key = settings.dkim_domain, settings.dkim_selector, settings.dkim_key
    if domain is None and selector is None and key is None:
        return None
    if domain is None or selector is None or key is None:
        names = ("dkim_domain", "dkim_selector", "dkim_key")
        lacking = [name.upper() for name in names if getattr(settings, name) is None]
        missing = ", ".join(f"NEWSLETTER_{name} is missing" for name in lacking)
        raise SettingsError(f"{missing}: DKIM needs a domain, a selector and a key")
    try:
        return dkim.open_signer(domain, selector, key)
    except ValueError as error:
        raise SettingsError(f"NEWSLETTER_{error}") from error


def engine_of(settings: Settings) -> Engine:
    """Return the database of the installation."""
    pooler = settings.database_pooler == "transaction"
    return open_engine(settings.sqlalchemy_url, pooler=pooler)


def configure_logging(log_format: str) -> None:
    """Send one line for each outcome to standard error."""
    last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer() if log_format == "json" else last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def from_environment() -> FastAPI:
    """Return the application for one of several server processes.

    Such a process ends with the one that started it: else it would go on serving old code.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():
        sys.exit("newsletter: the process that started this one is gone")
    settings = Settings()
    configure_logging(settings.log_format)
    return create_app(settings)


def create_app(
    settings: Settings, *, house: House | None = None, with_worker: bool = False, dev: bool = False
) -> FastAPI:
    """Return the application.

    `with_worker` sends mail in the same process; `dev` adds the mailbox page; `house` replaces
    what the settings say, for tests.
    """
    rules = house or house_of(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = engine_of(settings)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(engine.close)
            bell = await stack.enter_async_context(_worker(settings, engine, rules, on=with_worker))
            groups = Groups(_door(engine, rules), bell.wake if bell else None)
            draining = asyncio.Event()
            app.state.site = Site(
                house=rules,
                engine=engine,
                groups=groups,
                trusted_proxies=settings.trusted_proxies,
                consent_ip=settings.consent_ip,
                is_draining=draining.is_set,
            )
            yield
            draining.set()
            await groups.close()

    app = _Service(
        title="Newsletter",
        version="1",
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would take the host of the redirect from the request
    )
    _add_routes(app, settings if dev else None)
    _add_handlers(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Envelope, broken=lambda request: _answer(request, problems.of_status(500)))
    return app


def _door(engine: Engine, house: House) -> Run:
    async def run(commands: Sequence[Command]) -> list[Result]:
        return await engine.write(subscriptions.apply, commands, house)

    return run


@contextlib.asynccontextmanager
async def _worker(
    settings: Settings, engine: Engine, house: House, *, on: bool
) -> AsyncIterator[Wakeups | None]:
    """Run an embedded worker while inside, if it is wanted."""
    if not on:
        yield None
        return
    async with open_worker(settings, engine, house) as worker:
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        try:
            yield worker.wakeups
        finally:
            stop.set()
            await running


@contextlib.asynccontextmanager
async def open_worker(settings: Settings, engine: Engine, house: House) -> AsyncIterator[Worker]:
    """Return a worker that watches the database; it does not run yet."""
    try:
        transport = open_transport(settings.transport_url, settings.mail_connections)
    except ValueError as error:
        raise SettingsError(f"NEWSLETTER_MAIL_URL: {error}") from error
    async with open_wakeups(settings.sqlalchemy_url, settings.listen_url) as wakeups:
        yield Worker(engine, house, transport, wakeups, settings.unconfirmed_retention)


def _add_routes(app: FastAPI, dev: Settings | None) -> None:
    for module in (api_subscriptions, newsletters, policies, subscribers, health):
        app.include_router(module.router)
    for page in (sign_up, confirm, unsubscribe):
        app.include_router(page.router)
    if dev is not None:
        app.include_router(mailbox.router_of(Path(dev.transport_url.partition("://")[2])))
    app.mount("/static", StaticFiles(directory=rendering.STATIC))


def _add_handlers(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def refused(request: Request, problem: Exception) -> Response:
        assert isinstance(problem, Problem)  # noqa: S101 - what it is registered for
        if isinstance(problem, Unavailable):
            _log_away(problem)
        return _answer(request, problems.of(problem))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        shown = [{**e, "loc": e["loc"][1:]} for e in error.errors()]
        return _answer(request, problems.of(Invalid(bodies.faults_of(shown))))

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        headers = {"Allow": _allowed(app, request)} if error.status_code == 405 else {}  # noqa: PLR2004
        return _answer(request, problems.of_status(error.status_code), headers)


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


def _answer(
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
    return rendering.page("problem.html", context, status, headers)
