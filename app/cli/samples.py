"""What `newsletter dev` shows: a sample newsletter, and a blog that carries its form."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI
from sqlalchemy.engine import Connection

from app.db import newsletters as newsletter_rows
from app.db import policies as policy_rows
from app.domain.errors import Unauthenticated
from app.services import keys, newsletters, policies
from app.services.house import utc_now
from app.services.keys import Scope, Wish

SLUG = "insights"
_SAMPLE: dict[str, Any] = {
    "slug": SLUG,
    "name": "Insights",
    "from_name": "Insights",
    "from_address": "insights@example.org",
    "pitch": "One thoughtful letter a week about building things that last.",
    "consent_text": "Yes, please send me the Insights newsletter by e-mail. "
    "I can unsubscribe at any time with one click.",
    "welcome": True,
    "is_default": True,
}
_POLICY = (
    "We keep your address, what you agreed to and when, only to send you the newsletter you asked "
    "for and to be able to prove that you asked. We give it to nobody. You can leave at any time."
)


def make(connection: Connection, key: str | None, base_url: str, blog_url: str) -> str:
    """Make what is missing of newsletter, policy and key; let the blog in; return the key."""
    now = utc_now()
    found = newsletter_rows.read(connection, SLUG) or newsletters.create(connection, _SAMPLE, now)
    origins = {blog_url, blog_url.replace("//127.0.0.1:", "//localhost:")}
    if not origins <= set(found.allowed_origins):
        listed = sorted({*found.allowed_origins, *origins})
        newsletters.change(connection, SLUG, {"allowed_origins": listed}, now)
    if not policy_rows.read_all(connection):
        url = f"{base_url}/privacy"
        policies.publish(connection, now.strftime("%Y-%m-%d"), url, _POLICY, now)
    with contextlib.suppress(Unauthenticated):
        if key is not None and keys.check(connection, key, now):
            return key
    return keys.create(connection, Wish(name="dev", scopes=[Scope.ADMIN]), now)


@contextlib.contextmanager
def serving(app: FastAPI, listening: socket.socket, options: dict[str, Any]) -> Iterator[None]:
    """Serve in a thread while inside: only the main thread can have the signals."""
    server = uvicorn.Server(uvicorn.Config(app, **options))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
