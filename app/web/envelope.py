"""What is true of every answer: security headers, HEAD like GET, one line in the log."""

import time
import traceback
from collections.abc import Callable
from pathlib import Path

import structlog
from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": CSP,
    "Cross-Origin-Opener-Policy": "same-origin",
}

_APP = str(Path(__file__).parents[1])

_HUNG_UP = 499
"""Nobody is there to answer; the log shows the code that nginx uses for it."""

log = structlog.get_logger()


class Envelope:
    """ASGI middleware around everything; nothing that a request carried reaches the log."""

    def __init__(self, app: ASGIApp, broken: Callable[[Request], Response]) -> None:
        """Wrap the application; `broken` makes the answer when it failed."""
        self.app = app
        self.broken = broken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, and log method, route template, status and time."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0
        method = scope["method"]

        async def sealed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            elif method == "HEAD" and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        inner = {**scope, "method": "GET"} if method == "HEAD" else scope
        try:
            await self.app(inner, receive, sealed)
        except ClientDisconnect:
            status = _HUNG_UP
        except Exception as error:  # noqa: BLE001 - the last resort: an answer without its reasons
            _log_failure(error)
            if not status:
                response = self.broken(Request(inner))
                await response(inner, receive, sealed)
        _log_access(inner, method, status, started)


def _log_failure(error: Exception) -> None:
    """Log where it happened, not what it said: messages of drivers repeat values."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f.filename.startswith(_APP)] or frames[-1:]
    where = [f"{frame.filename.removeprefix(_APP)}:{frame.lineno}" for frame in ours]
    log.error("request_failed", error=type(error).__qualname__, where=where)


def _log_access(scope: Scope, method: str, status: int, started: float) -> None:
    template = getattr(scope.get("route"), "path", "unmatched")
    elapsed = round((time.perf_counter() - started) * 1000, 1)
    log.info("request", method=method, route=template, status=status, ms=elapsed)
