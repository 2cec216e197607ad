"""A real Redis for tests: Debian's, started on a free port with a folder of its own."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from tests.mail.servers import free_port


@contextmanager
def redis(port: int | None = None) -> Iterator[str]:
    """Have a server while inside; yield its URL."""
    found = shutil.which("redis-server")
    if found is None:
        missing = "there is no redis-server"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--save", ""]
        process = subprocess.Popen([str(found), *options], stdout=subprocess.DEVNULL)  # noqa: S603
        try:
            _await(port, process)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(30)


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), 5)) as s:
            s.sendall(b"PING\r\n")
            if s.recv(5) == b"+PONG":
                return
        time.sleep(0.02)
    pytest.fail("redis-server does not run")
