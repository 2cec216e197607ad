"""Templates into answers."""

from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app.db.newsletters import Newsletter
from app.languages.catalogs import Language, accepted, choose, day, translations
from app.services.catalog import Catalog
from app.web.deps import Site
from app.web.envelope import CSP

PAGES = Path(__file__).parent / "pages"
STATIC = PAGES / "static"

PRIVATE = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}
"""For pages whose address is a secret."""

_SCRIPTED = "script-src 'self'; connect-src 'self'"


@cache
def static(name: str) -> str:
    """Return the address of a static file, which changes with its contents."""
    version = sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={version}"


@cache
def _environment(language: Language) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(PAGES / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined] # the extension adds it
    environment.globals |= {
        "static": static,
        "language": language,
        "named": _named,
        "day": partial(day, language),
    }
    return environment


def _named(name: str) -> Markup:
    """Return a newsletter's name in a sentence, whichever way the two are written."""
    return Markup("<strong><bdi>{}</bdi></strong>").format(name)


def page(
    language: Language,
    template: str,
    context: dict[str, Any],
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> HTMLResponse:
    """Return a rendered page."""
    body = _environment(language).get_template(template).render(context)
    told = {"Cache-Control": "no-store", "Content-Language": language.code}
    return HTMLResponse(body, status, {**told, "Vary": "Accept-Language", **(headers or {})})


def language_of(
    request: Request, newsletter: Newsletter | None = None, locale: str | None = None
) -> Language:
    """Return the language for a page: the subscriber's, the browser's, the newsletter's."""
    browser = accepted(request.headers.get("accept-language", ""))
    return choose(locale, *browser, newsletter.locale if newsletter else None)


def sign_up_form(
    request: Request,
    catalog: Catalog,
    newsletter: Newsletter,
    values: dict[str, Any] | None = None,
    faults: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> HTMLResponse:
    """Return the hosted form, empty or with what was typed and what is wrong with it."""
    site: Site = request.app.state.site
    status = 422 if faults else 200
    context = {
        "newsletter": newsletter,
        "wording": {"text": newsletter.consent_text, "hash": newsletter.wording},
        "policy": catalog.policies[0] if catalog.policies else None,
        "values": {"email": "", "name": "", "consent": False, **(values or {})},
        "faults": faults or {},
        "has_challenge": site.house.proof_of_work,
    }
    policy = _csp(newsletter)
    if site.house.proof_of_work:
        policy = policy.replace("default-src 'none'", f"default-src 'none'; {_SCRIPTED}")
    headers = {"Content-Security-Policy": policy, **(headers or {})}
    return page(language_of(request, newsletter), "sign_up.html", context, status, headers)


def _csp(newsletter: Newsletter) -> str:
    """Return the policy; `form-action` also governs where the answer to a form may redirect."""
    if not newsletter.thank_you_url:
        return CSP
    target = urlsplit(newsletter.thank_you_url)
    return CSP.replace(
        "form-action 'self'", f"form-action 'self' {target.scheme}://{target.netloc}"
    )
