"""Templates into answers."""

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.db.newsletters import Newsletter
from app.services.catalog import Catalog
from app.web.envelope import CSP

PAGES = Path(__file__).parent / "pages"
STATIC = PAGES / "static"

PRIVATE = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}
"""For pages whose address is a secret."""


@cache
def static(name: str) -> str:
    """Return the address of a static file, which changes with its contents."""
    version = sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={version}"


_environment = Environment(
    loader=FileSystemLoader(PAGES / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.globals["static"] = static


def page(
    template: str,
    context: dict[str, Any],
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> HTMLResponse:
    """Return a rendered page."""
    body = _environment.get_template(template).render(context)
    return HTMLResponse(body, status, {"Cache-Control": "no-store", **(headers or {})})


def sign_up_form(
    catalog: Catalog,
    newsletter: Newsletter,
    values: dict[str, Any] | None = None,
    faults: dict[str, str] | None = None,
    status: int = 200,
) -> HTMLResponse:
    """Return the hosted form, empty or with what was typed and what is wrong with it."""
    context = {
        "newsletter": newsletter,
        "wording": {"text": newsletter.consent_text, "hash": newsletter.wording},
        "policy": catalog.policies[0] if catalog.policies else None,
        "values": {"email": "", "name": "", "consent": False, **(values or {})},
        "faults": faults or {},
    }
    return page("sign_up.html", context, status, {"Content-Security-Policy": _csp(newsletter)})


def _csp(newsletter: Newsletter) -> str:
    """Return the policy; `form-action` also governs where the answer to a form may redirect."""
    if not newsletter.thank_you_url:
        return CSP
    target = urlsplit(newsletter.thank_you_url)
    return CSP.replace(
        "form-action 'self'", f"form-action 'self' {target.scheme}://{target.netloc}"
    )
