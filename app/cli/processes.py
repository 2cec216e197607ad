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
from uvicorn.supervisors import Multiprocess

from app.cli import database, samples
from app.db import schema
from app.main import (
    configure_logging,
    create_app,
    create_blog,
    engine_of,
    house_of,
    open_worker,
)
from app.settings import Settings, SettingsError

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")]
BlogPort = Annotated[
    int | None,
    typer.Option(min=1, max=65535, help="Port of the sample blog; the next one that is free."),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (dev, serve, work, migrate):
        app.command()(command)


def dev(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    blog_port: BlogPort = None,
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
    bound = "0.0.0.0" if expose and host == "127.0.0.1" else host  # noqa: S104
    listening = _listen(bound, port)
    blog = _listen(bound, blog_port) if blog_port else _listen_beside(bound, port)
    blog_url = f"http://{reached}:{blog.getsockname()[1]}"
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
        key = database.write(settings, samples.make, kept.get("admin_key"), base_url, blog_url)
        _keep(data_dir / "dev.json", {**kept, "admin_key": key})
    typer.echo(
        f"Sign-up page  {base_url}/newsletters/{samples.SLUG}\n"
        f"Sample blog   {blog_url}/\n"
        f"Mailbox       {base_url}/dev/mail\n"
        f"Admin API     {base_url}/v1/subscribers\n"
        f"Admin key     {key}"
    )
    with samples.serving(create_blog(base_url, samples.SLUG), blog, _SERVER_OPTIONS):
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


def _listen_beside(host: str, port: int) -> socket.socket:
    """Listen on the next port that is free: nobody asked for a certain one."""
    for candidate in range(port + 1, min(port + 20, 65536)):
        with contextlib.suppress(SettingsError):
            return _listen(host, candidate)
    raise SettingsError(f"no port after {port} is free for the sample blog: name a --blog-port")


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
