"""Commands that run: dev, serve, work, migrate."""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
import uvloop
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy.engine import Connection
from uvicorn.supervisors import Multiprocess

from app.cli import database
from app.db import newsletters as newsletter_rows
from app.db import policies as policy_rows
from app.db import schema
from app.domain.errors import Unauthenticated
from app.main import configure_logging, create_app, engine_of, house_of, open_worker
from app.services import keys, newsletters, policies
from app.services.house import utc_now
from app.services.keys import Scope, Wish
from app.settings import Settings, SettingsError

_SAMPLE: dict[str, Any] = {
    "slug": "insights",
    "name": "Insights",
    "from_name": "Insights",
    "from_address": "insights@example.org",
    "pitch": "One thoughtful letter a week about building things that last.",
    "consent_text": "Yes, please send me the Insights newsletter by e-mail. "
    "I can unsubscribe at any time with one click.",
    "welcome": True,
    "is_default": True,
}
_SAMPLE_POLICY = (
    "We keep your address, what you agreed to and when, only to send you the newsletter you asked "
    "for and to be able to prove that you asked. We give it to nobody. You can leave at any time."
)

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (dev, serve, work, migrate):
        app.command()(command)


def dev(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    expose: Annotated[
        bool, typer.Option("--expose", help="Let other machines in (there is no password).")
    ] = False,
) -> None:
    """Run everything in one process, with sample data and a mailbox page; for trying out."""
    if host not in {"127.0.0.1", "localhost", "::1"} and not expose:
        raise SettingsError(f"dev listens on loopback only; add --expose to listen on {host}")
    data_dir = Settings.without_file().data_dir
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Links in mail need a name or an IPv4 address that answers.
    reached = {"0.0.0.0": "127.0.0.1", "::": "localhost", "::1": "localhost"}.get(host, host)  # noqa: S104
    base_url = f"http://{reached}:{port}"
    listening = _listen("0.0.0.0" if expose and host == "127.0.0.1" else host, port)  # noqa: S104
    with _alone(data_dir):
        kept = _kept(data_dir / "dev.json")
        settings = Settings.without_file(
            database_url=None,
            database_listen_url=None,
            mail_url=None,
            rate_limit_url=None,
            bounce_address=None,
            dkim_domain=None,
            dkim_selector=None,
            dkim_key=None,
            secret_keys=(SecretStr(kept["secret_key"]),),
            hash_key=SecretStr(kept["hash_key"]),
            base_url=base_url,
        )
        configure_logging(settings.log_format)
        database.write(settings, schema.upgrade)
        key = database.write(settings, _sample, kept.get("admin_key"), base_url)
        _keep(data_dir / "dev.json", {**kept, "admin_key": key})
    typer.echo(
        f"Sign-up page  {base_url}/newsletters/{_SAMPLE['slug']}\n"
        f"Mailbox       {base_url}/dev/mail\n"
        f"Admin API     {base_url}/v1/subscribers\n"
        f"Admin key     {key}"
    )
    _serve(create_app(settings, with_worker=True, dev=True), listening)


def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Server processes.")] = 1,
) -> None:
    """Serve the API and the pages, for production."""
    settings = _production()
    if processes > 1 and settings.sqlalchemy_url.startswith("sqlite"):
        raise SettingsError("SQLite has one API process; set NEWSLETTER_DATABASE_URL to PostgreSQL")
    listening = _listen(host, port)
    if processes == 1:
        _serve(create_app(settings), listening)
        return
    config = uvicorn.Config(
        "app.main:from_environment", factory=True, workers=processes, **_SERVER_OPTIONS
    )
    Multiprocess(config, sockets=[listening]).run()


def work() -> None:
    """Send mail until SIGTERM; then finish what is on the wire and exit."""
    settings = _production()

    async def run() -> None:
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        engine = engine_of(settings)
        try:
            async with open_worker(settings, engine, house_of(settings)) as worker:
                await worker.run(stop)
        finally:
            await engine.close()

    uvloop.run(run())


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Only tell: exit code 1 if migrations are pending.")
    ] = False,
) -> None:
    """Bring the database up to date, under a lock."""
    settings = Settings()
    if not check:
        database.write(settings, schema.upgrade)
    is_current = database.read(settings, schema.is_current)
    typer.echo("up to date" if is_current else "migrations are pending")
    raise typer.Exit(0 if is_current else 1)


_SERVER_OPTIONS: dict[str, Any] = {
    "access_log": False,
    "log_config": None,
    "log_level": "error",
    "ws": "none",
    "proxy_headers": False,  # our own reading of X-Forwarded-For knows whom to trust
    "server_header": False,
    "timeout_graceful_shutdown": 30,
    "timeout_worker_healthcheck": 30,  # on a busy host a process takes longer than 5 s to start
}


def _serve(app: FastAPI, listening: socket.socket) -> None:
    for name in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again after it has shut down: that is a clean end.
        signal.signal(name, lambda *_: sys.exit(0))
    server = uvicorn.Server(uvicorn.Config(app, **_SERVER_OPTIONS))
    server.run(sockets=[listening])
    if not server.started:
        raise typer.Exit(1)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise SettingsError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    listening.set_inheritable(True)  # the server processes inherit it
    return listening


def _production() -> Settings:
    """Return settings that are fit to serve with, and say what the database lacks for now."""
    settings = Settings()
    settings.require_production()
    house_of(settings)  # what is wrong with it is told before anything starts
    configure_logging(settings.log_format)
    try:
        is_current = database.read(settings, schema.is_current)
        lacks = "" if is_current else "migrations are pending: run newsletter migrate"
    except database.DatabaseAway as error:
        lacks = str(error)
    if lacks:  # it may be mended while we run: until then requests are answered with 503
        typer.echo(f"newsletter: {lacks}", err=True)
    return settings


@contextlib.contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Let two that start at the same time generate one set of secrets."""
    with (data_dir / "dev.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _kept(path: Path) -> dict[str, str]:
    """Return what `dev` generated at its first start, or generate it."""
    if path.exists():
        found: dict[str, str] = json.loads(path.read_text())
        return found
    made = {"secret_key": secrets.token_urlsafe(48), "hash_key": secrets.token_urlsafe(48)}
    _keep(path, made)
    return made


def _keep(path: Path, values: dict[str, str]) -> None:
    """Write the file so that only its owner may read it, and so that it is whole or not there."""
    partial = path.with_suffix(".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(values, file, indent=2)
    partial.replace(path)


def _sample(connection: Connection, key: str | None, base_url: str) -> str:
    """Make what is missing of the sample newsletter, the policy and the key; return the key."""
    now = utc_now()
    if newsletter_rows.read(connection, _SAMPLE["slug"]) is None:
        newsletters.create(connection, _SAMPLE, now)
    if not policy_rows.read_all(connection):
        url = f"{base_url}/privacy"
        policies.publish(connection, now.strftime("%Y-%m-%d"), url, _SAMPLE_POLICY, now)
    with contextlib.suppress(Unauthenticated):
        if key is not None and keys.check(connection, key, now):
            return key
    return keys.create(connection, Wish(name="dev", scopes=[Scope.ADMIN]), now)
