"""Commands that run: dev, serve, work, migrate."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy.engine import Connection
from uvicorn.supervisors import Multiprocess

from app.db import keys as key_rows
from app.db import newsletters as newsletter_rows
from app.db import policies as policy_rows
from app.db import schema
from app.domain.errors import Unavailable
from app.main import configure_logging, create_app, engine_of, house_of, open_worker
from app.services import keys, newsletters, policies
from app.services.house import utc_now
from app.services.keys import Scope, Wish
from app.settings import Settings, SettingsError

R = TypeVar("R")

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
    kept = _kept(data_dir / "dev.json")
    base_url = f"http://{'127.0.0.1' if expose else _bracketed(host)}:{port}"
    settings = Settings.without_file(
        database_url=None,
        database_listen_url=None,
        mail_url=None,
        secret_keys=(SecretStr(kept["secret_key"]),),
        hash_key=SecretStr(kept["hash_key"]),
        base_url=base_url,
    )
    listening = _listen("0.0.0.0" if expose and host == "127.0.0.1" else host, port)  # noqa: S104
    configure_logging(settings.log_format)
    key = asyncio.run(_prepare(settings, kept.get("admin_key"), base_url))
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

    asyncio.run(run())


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Only tell: exit code 1 if migrations are pending.")
    ] = False,
) -> None:
    """Bring the database up to date, under a lock."""
    engine = engine_of(Settings())

    async def run() -> bool:
        try:
            if not check:
                await engine.write(schema.upgrade)
            return await engine.read(schema.is_current)
        finally:
            await engine.close()

    is_current = asyncio.run(run())
    typer.echo("up to date" if is_current else "migrations are pending")
    raise typer.Exit(0 if is_current else 1)


_SERVER_OPTIONS: dict[str, Any] = {
    "access_log": False,
    "log_config": None,
    "log_level": "warning",
    "proxy_headers": False,  # our own reading of X-Forwarded-For knows whom to trust
    "server_header": False,
    "timeout_graceful_shutdown": 30,
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
        raise SettingsError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    listening.set_inheritable(True)  # the server processes inherit it
    return listening


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _production() -> Settings:
    """Return settings that are fit to serve with; refuse a database that is not migrated."""
    settings = Settings()
    settings.require_production()
    configure_logging(settings.log_format)
    with contextlib.suppress(Unavailable):  # away for now: serve, and say so until it is back
        if not asyncio.run(_in_engine(settings, schema.is_current)):
            raise SettingsError("migrations are pending: run newsletter migrate")
    return settings


async def _in_engine(settings: Settings, work: Callable[[Connection], R]) -> R:
    engine = engine_of(settings)
    try:
        return await engine.read(work)
    finally:
        await engine.close()


def _kept(path: Path) -> dict[str, str]:
    """Return what `dev` generated at its first start, or generate it."""
    if path.exists():
        found: dict[str, str] = json.loads(path.read_text())
        return found
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
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


async def _prepare(settings: Settings, key: str | None, base_url: str) -> str:
    """Migrate, and make what is missing of the sample newsletter, the policy and the key."""
    engine = engine_of(settings)
    try:
        await engine.write(schema.upgrade)
        return await engine.write(_sample, key, base_url)
    finally:
        await engine.close()


def _sample(connection: Connection, key: str | None, base_url: str) -> str:
    now = utc_now()
    if newsletter_rows.read(connection, _SAMPLE["slug"]) is None:
        newsletters.create(connection, _SAMPLE, now)
    if not policy_rows.read_all(connection):
        url = f"{base_url}/privacy"
        policies.publish(connection, now.strftime("%Y-%m-%d"), url, _SAMPLE_POLICY, now)
    if key is not None and key_rows.read(connection, key.split("_")[1]) is not None:
        return key
    return keys.create(connection, Wish(name="dev", scopes=[Scope.ADMIN]), now)
