"""The sample blog of `newsletter dev`: a page on another origin that carries our form."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from app.languages.catalogs import ENGLISH
from app.web import rendering


def router_of(service: str, slug: str) -> APIRouter:
    """Return the blog: an essay with the form at its end, and one with the pop-up."""
    router = APIRouter(include_in_schema=False)
    context = {"service": service, "slug": slug}
    # As strict as a site can be that lets us in: no inline script or style, nobody else.
    csp = (
        f"default-src 'none'; script-src {service}; connect-src {service}; style-src 'self'; "
        f"img-src 'self'; form-action {service}; base-uri 'none'; frame-ancestors 'none'"
    )

    def page(template: str) -> HTMLResponse:
        headers = {"Content-Security-Policy": csp}
        return rendering.page(ENGLISH, template, context, headers=headers)

    @router.get("/")
    def inline() -> HTMLResponse:
        return page("blog/inline.html")

    @router.get("/pop-up")
    def popup() -> HTMLResponse:
        return page("blog/popup.html")

    return router
