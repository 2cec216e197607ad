"""Puts the parts together: engine, door, routers, problem handlers, and the worker."""

import asyncio
import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI, Response
from fastapi.staticfiles import StaticFiles

from app.db.engine import Engine, open_engine
from app.db.wakeups import open_wakeups
from app.mail import dkim
from app.mail.transport import open_transport
from app.remote.fetches import Fetcher
from app.services import return_paths, subscriptions
from app.services.commands import Command, Result
from app.services.groups import Groups, Run
from app.services.house import House
from app.settings import Settings, SettingsError
from app.tokens import Tokens
from app.web import handlers, problems, rendering
from app.web.api import (
    challenges,
    feedback,
    health,
    newsletters,
    outbox,
    policies,
    subscribers,
    suppressions,
)
from app.web.api import subscriptions as api_subscriptions
from app.web.deps import Site, Trust
from app.web.envelope import Envelope
from app.web.limits import BodyLimit
from app.web.pages import blog, confirm, forms, mailbox, preferences, sign_up, unsubscribe
from app.web.throttles import Limits, Throttle, open_throttle
from app.worker.loop import Worker

log = structlog.get_logger()

_PR_SET_PDEATHSIG = 1
_CHANGES_MAIL = {"postmark", "ses"}
"""How mail leaves if it changes on the way, and a signature of ours would not hold."""

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
        confirm_rate=settings.confirm_rate,
        proof_of_work=settings.proof_of_work,
        mail_rates=settings.mail_rate,
        domain_rates=settings.mail_domain_rates,
        bounce_address=_bounce_address_of(settings),
        dkim=_signer_of(settings),
    )


def _bounce_address_of(settings: Settings) -> str | None:
    try:
        return settings.bounce_address and return_paths.fit(settings.bounce_address)
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
    if settings.transport_url.partition(":")[0].lower() in _CHANGES_MAIL:
        raise SettingsError(
            "NEWSLETTER_DKIM_DOMAIN: this provider signs mail itself; remove DKIM_*"
        )
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
            wake = await stack.enter_async_context(_worker(settings, engine, rules, on=with_worker))
            throttle = await stack.enter_async_context(_throttle(settings, rules))
            groups = Groups(_door(engine, rules), wake)
            draining = asyncio.Event()
            app.state.site = Site(
                house=rules,
                engine=engine,
                groups=groups,
                wake=wake,
                trusted_proxies=settings.trusted_proxies,
                consent_ip=settings.consent_ip,
                is_draining=draining.is_set,
                trust=_trust(settings),
                throttle=throttle,
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
    handlers.add_to(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(
        Envelope, broken=lambda request: handlers.answer(request, problems.of_status(500))
    )
    return app


def create_blog(service: str, slug: str) -> FastAPI:
    """Return the sample blog of `newsletter dev`, which carries the newsletter's form."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.include_router(blog.router_of(service, slug))
    app.mount("/static", StaticFiles(directory=rendering.STATIC))
    app.add_middleware(Envelope, broken=lambda _: Response(status_code=500))
    return app


def _trust(settings: Settings) -> Trust:
    key = settings.feedback_mailgun_key
    return Trust(
        ses_topics=frozenset(settings.feedback_ses_topics),
        mailgun_key=key.get_secret_value().encode() or None if key else None,
        fetcher=Fetcher(),
    )


def _throttle(settings: Settings, house: House) -> contextlib.AbstractAsyncContextManager[Throttle]:
    limits = Limits(house.hash_key, settings.client_rate, settings.public_rate)
    url = settings.rate_limit_url
    return open_throttle(limits, url.get_secret_value() if url else None)


def _door(engine: Engine, house: House) -> Run:
    async def run(commands: Sequence[Command]) -> list[Result]:
        return await engine.write(subscriptions.apply, commands, house)

    return run


@contextlib.asynccontextmanager
async def _worker(
    settings: Settings, engine: Engine, house: House, *, on: bool
) -> AsyncIterator[Callable[[], None]]:
    """Run an embedded worker while inside, if it is wanted; yield what wakes it."""
    if not on:
        yield lambda: None
        return
    async with open_worker(settings, engine, house) as worker:
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        try:
            yield worker.wakeups.wake
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
    for module in (
        api_subscriptions,
        challenges,
        newsletters,
        policies,
        subscribers,
        suppressions,
        outbox,
        feedback,
        health,
    ):
        app.include_router(module.router)
    for page in (sign_up, forms, confirm, unsubscribe, preferences):
        app.include_router(page.router)
    if dev is not None:
        app.include_router(mailbox.router_of(Path(dev.transport_url.partition("://")[2])))
    app.mount("/static", StaticFiles(directory=rendering.STATIC))
