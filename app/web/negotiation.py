"""Whether the caller is a script or a person's browser, and which origins may read."""

from fastapi import Request

from app.web import bodies

NEGOTIATED = "/v1/subscriptions"
VARY = "Accept, Origin"


def wants_json(request: Request) -> bool:
    """Tell whether to answer as JSON: a JSON body, an Accept that names it, or a fetch()."""
    if bodies.is_json(request) or request.headers.get("sec-fetch-mode") == "cors":
        return True
    return "application/json" in request.headers.get("accept", "").lower()


def is_posted_form(request: Request) -> bool:
    """Tell whether a person's browser has posted the sign-up form, and wants to see a page."""
    is_page = "text/html" in request.headers.get("accept", "").lower()
    return is_page and request.url.path == NEGOTIATED and not wants_json(request)


def cors(request: Request, origins: set[str]) -> dict[str, str]:
    """Return the header that lets a listed origin read the answer; never credentials."""
    origin = request.headers.get("origin")
    return {"Access-Control-Allow-Origin": origin} if origin in origins and origin else {}
