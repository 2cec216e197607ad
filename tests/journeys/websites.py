"""Somebody else's website, on an origin of its own, whose pages carry our form."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Website:
    """Pages by their path, and headers that all of them have."""

    origin: str
    pages: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def show(self, html: str, path: str = "/", **headers: str) -> str:
        """Put up a page; return its address: `show("<p>", Content_Security_Policy="...")`."""
        self.pages[path] = f"<!doctype html><html lang=en><title>A page</title>{html}"
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.origin + path


@contextmanager
def website() -> Iterator[Website]:
    """Serve a website while inside."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = site.pages.get(self.path.partition("?")[0])
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            for name, value in site.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write((page or "").encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site = Website(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield site
        server.shutdown()
        thread.join()
