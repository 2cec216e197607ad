"""How large a body may be, refused before it is read."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PUBLIC = 64 * 1024
ADMIN = 1024 * 1024
"""A privacy policy may be long."""

FEEDBACK = 256 * 1024
"""As large as a message of Amazon SNS."""

_ADMIN_PATHS = ("/v1/policies", "/v1/newsletters")


def _limit(path: str) -> int:
    if path.startswith("/v1/feedback/"):
        return FEEDBACK
    return ADMIN if path.startswith(_ADMIN_PATHS) else PUBLIC


class BodyLimit:
    """ASGI middleware: 413 for a body over the limit, by its length or as it comes in."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what is received."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = _limit(scope["path"])
        announced = Headers(scope=scope).get("content-length", "0")
        left = limit

        async def counted() -> Message:
            nonlocal left
            if announced.isdecimal() and int(announced) > limit:
                raise HTTPException(413)
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413)
            return message

        await self.app(scope, counted, send)
