"""Real processes for tests: the `newsletter` command, and a post office that takes its mail."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import (
    ExitStack,
    chdir,
    closing,
    contextmanager,
    redirect_stderr,
    redirect_stdout,
    suppress,
)
from dataclasses import dataclass, field
from email.message import EmailMessage
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch
from urllib.parse import urlsplit

import asyncpg
import pytest
import structlog
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from app.cli.commands import run
from app.mail.message import parse
from tests.mail.servers import free_port

COMMAND = Path(sys.executable).with_name("newsletter")
PATIENCE = 60.0
SECRETS = {
    "NEWSLETTER_SECRET_KEYS": "only-for-tests-0123456789-abcdefghij",
    "NEWSLETTER_HASH_KEY": "hash-for-tests-0123456789-abcdefghij",
}


def wait_until(is_true: Callable[[], object], within: float = PATIENCE) -> None:
    """Wait until the condition holds; fail after the deadline."""
    deadline = time.monotonic() + within
    while not is_true():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class Running(Protocol):
    """A process that was started, as `subprocess.Popen` has it."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int, /) -> None: ...
    def kill(self) -> None: ...


@dataclass
class Installation:
    """A folder to work in, an environment, and the processes started there."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    started: list[Running] = field(default_factory=list)

    @property
    def variables(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("NEWSLETTER_")}
        return {**inherited, **self.environment}

    def run(self, *arguments: str) -> Done:
        """Run a command to its end, in this process: starting Python takes seconds."""
        out, err = io.StringIO(), io.StringIO()
        with ExitStack() as stack:
            stack.enter_context(chdir(self.folder))
            stack.enter_context(patch.dict(os.environ, self.variables, clear=True))
            stack.enter_context(patch.object(sys, "argv", ["newsletter", *arguments]))
            stack.enter_context(redirect_stdout(out))
            stack.enter_context(redirect_stderr(err))
            stack.callback(structlog.reset_defaults)
            code = stack.enter_context(pytest.raises(SystemExit))
            run()
        return Done(int(code.value.code or 0), out.getvalue(), err.getvalue())

    def spawn(self, *arguments: str) -> Done:
        """Run a command to its end, in a process of its own."""
        done = subprocess.run(  # noqa: S603
            [COMMAND, *arguments],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str) -> str:
        """Run a command that has to succeed; return what it printed."""
        done = self.run(*arguments)
        assert done.code == 0, done.err
        return done.out.strip()

    def start(self, *arguments: str) -> Running:
        """Start a command that runs on; what it prints goes to a file of its own."""
        with self.log(len(self.started)).open("w") as log:
            process = subprocess.Popen(  # noqa: S603
                [COMMAND, *arguments],
                cwd=self.folder,
                env=self.variables,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.started.append(process)
        return process

    def serve(self, *options: str) -> str:
        """Start an API process; return its address."""
        port = str(free_port())
        self.start("serve", "--port", port, *options)
        return f"http://127.0.0.1:{port}"

    def log(self, number: int) -> Path:
        return self.folder / f"process-{number}.log"

    def logs(self) -> str:
        return "".join(self.log(number).read_text() for number in range(len(self.started)))

    def stop(self) -> list[int]:
        """End every process politely; return the exit codes."""
        for process in self.started:
            process.send_signal(signal.SIGTERM)
        return [process.wait(PATIENCE) for process in self.started]

    def close(self) -> None:
        """End what a failing test left running."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE)


@contextmanager
def installed(folder: Path, **settings: str) -> Iterator[Installation]:
    """Have an installation while inside: `installed(tmp_path, database_url=...)`."""
    named = {f"NEWSLETTER_{name.upper()}": value for name, value in settings.items()}
    base = {"NEWSLETTER_BASE_URL": "http://127.0.0.1:8000"}
    made = Installation(folder, {**SECRETS, **base, **named})
    try:
        yield made
    finally:
        made.close()


def furnish(house: Installation) -> None:
    """Make a newsletter and a policy, so that people can sign up."""
    (house.folder / "policy.txt").write_text("We keep your address.\n")
    house.ok("newsletters", "create", "insights", "--name", "Insights", "--from", "in@example.org")
    house.ok("policies", "publish", "2026-01", "https://example.org/p", "--file", "policy.txt")


def is_ready(url: str) -> bool:
    """Tell whether a server can serve; http.client, because httpx needs long to make a client."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=10)
    with closing(connection), suppress(OSError):
        connection.request("GET", "/readyz")
        return connection.getresponse().status == HTTPStatus.OK
    return False


def fetch(url: str, statement: str) -> list[Any]:
    """Return the rows that a PostgreSQL answers."""

    async def read() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return asyncio.run(read())


@dataclass
class PostOffice:
    """A real SMTP server that keeps what it takes; `seconds` is what it needs for each mail."""

    port: int
    seconds: float = 0.0
    taken: list[tuple[str, bytes]] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802
        self.taken.append((envelope.rcpt_tos[0], bytes(envelope.original_content or b"")))
        # The answer comes late, so that a worker can die between the two.
        await asyncio.sleep(self.seconds)
        return "250 2.0.0 queued"

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def recipients(self) -> list[str]:
        return [recipient for recipient, _ in self.taken]

    @property
    def mails(self) -> list[EmailMessage]:
        return [parse(content) for _, content in self.taken]


@contextmanager
def post_office() -> Iterator[PostOffice]:
    office = PostOffice(free_port())
    controller = Controller(office, hostname="127.0.0.1", port=office.port)
    controller.start()
    try:
        yield office
    finally:
        controller.stop()
