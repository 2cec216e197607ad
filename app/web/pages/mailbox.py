"""The mailbox of `newsletter dev`: every mail that was sent, as a client would show it."""

import re
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from app.domain.errors import NotFound
from app.languages.catalogs import ENGLISH
from app.mail import maildir
from app.web import rendering
from app.web.envelope import CSP

_LINK = re.compile(r"https?://[^\s<>\"]+")
_FRAMED = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Frame-Options": "SAMEORIGIN",
}


def router_of(folder: Path) -> APIRouter:
    """Return the pages that show a Maildir."""
    router = APIRouter(include_in_schema=False)

    @router.get("/dev/mail")
    def mailbox() -> HTMLResponse:
        return rendering.page(ENGLISH, "mailbox.html", {"mails": maildir.read_all(folder)})

    @router.get("/dev/mail/{key}")
    def mail(key: str) -> HTMLResponse:
        found = _read(folder, key)
        context = {"mail": found, "links": list(dict.fromkeys(_LINK.findall(found.text)))}
        csp = {"Content-Security-Policy": f"{CSP}; frame-src 'self'"}
        return rendering.page(ENGLISH, "mail.html", context, headers=csp)

    @router.get("/dev/mail/{key}/html")
    def html(key: str) -> HTMLResponse:
        return HTMLResponse('<base target="_blank">' + _read(folder, key).html, headers=_FRAMED)

    return router


def _read(folder: Path, key: str) -> maildir.Mail:
    found = maildir.read(folder, key)
    if found is None:
        raise NotFound("There is no such mail.")
    return found
