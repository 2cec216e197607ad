"""`POST /v1/feedback/{provider}`: where providers tell what became of our mail."""

import base64
import contextlib
import functools
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Path, Request
from pydantic import BaseModel

from app.db import feedback as rows
from app.domain.errors import Distrusted, NotFound, Unauthenticated, Unreachable
from app.domain.feedback import Report
from app.mail.feedback import mailgun, postmark, readings, ses, sns
from app.services import feedback
from app.services.keys import Scope
from app.web import deps, problems
from app.web.deps import AnySite, Site

router = APIRouter(tags=["feedback"])
log = structlog.get_logger()

_BODY = {
    "application/json": {"schema": {"type": "object"}},
    "text/plain": {"schema": {"type": "string", "description": "JSON, as Amazon SNS sends it"}},
}


class Taken(BaseModel):
    """The event is kept, or was before."""

    status: Literal["accepted"] = "accepted"


async def _postmark(request: Request, site: Site) -> list[Report]:
    key = await deps.checked(site, _password(request), Scope.FEEDBACK_WRITE)
    key.require_newsletter(None)
    return postmark.reports(await request.body(), site.house.clock())


def _password(request: Request) -> str:
    """Return the key, sent as a Bearer or, as it comes from a webhook's URL, as the password."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    presented = ""
    if scheme.lower() == "bearer":
        presented = credentials.strip()
    elif scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            presented = base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    if not presented or not presented.isascii() or not presented.isprintable():
        raise Unauthenticated("Put a key into the URL: https://any:nl_...@host/v1/feedback/...")
    return presented


async def _ses(request: Request, site: Site) -> list[Report]:
    topics, fetcher, now = site.trust.ses_topics, site.trust.fetcher, site.house.clock()
    if not topics:
        raise NotFound("Name the topics in NEWSLETTER_FEEDBACK_SES_TOPICS to hear from Amazon SES.")
    message = readings.document(await request.body())
    url = sns.certificate_url(message, topics, now)
    certificate = await fetcher.get_once(url, functools.partial(sns.is_certificate, now=now))
    if certificate is None:
        raise Distrusted("certificate")
    sns.verify(message, certificate, now)
    reports = ses.reports(message, now)
    await _subscribe(site, sns.subscribe_url(message), reports)
    return reports


async def _subscribe(site: Site, url: str | None, reports: list[Report]) -> None:
    """Ask the topic to send its messages here, unless this message has had us ask before."""
    if url is None:
        return
    asked = await site.engine.read(rows.is_known, ses.PROVIDER, reports[0].event_id)
    if not asked and await site.trust.fetcher.get(url) is None:
        raise Unreachable("The topic did not take the confirmation of its subscription.")


async def _mailgun(request: Request, site: Site) -> list[Report]:
    key = site.trust.mailgun_key
    if key is None:
        raise NotFound("Set NEWSLETTER_FEEDBACK_MAILGUN_KEY to hear from Mailgun.")
    return mailgun.reports(await request.body(), key, site.house.clock())


_PROVIDERS: dict[str, Callable[[Request, Site], Awaitable[list[Report]]]] = {
    postmark.PROVIDER: _postmark,
    ses.PROVIDER: _ses,
    mailgun.PROVIDER: _mailgun,
}

Provider = Annotated[str, Path(json_schema_extra={"enum": sorted(_PROVIDERS)})]


@router.post(
    "/v1/feedback/{provider}",
    responses=problems.documented(400, 401, 403, 404, 413, 422, 503),
    openapi_extra={"requestBody": {"required": True, "content": _BODY}},
)
async def receive(provider: Provider, request: Request, site: AnySite) -> Taken:
    """Take an event in the provider's own form, proven in the provider's own way.

    Postmark: a key with the scope `feedback:write` as the password in the URL. Amazon SES: the
    signature of SNS. Mailgun: its signature. An event that is told twice counts once.
    """
    read = _PROVIDERS.get(provider)
    if read is None:
        raise NotFound("There is no such provider. We hear postmark, ses and mailgun.")
    try:
        reports = await read(request, site)
    except Distrusted as refused:
        log.warning("feedback_refused", provider=provider, reason=refused.reason)
        raise
    if reports:
        await site.engine.write(feedback.receive, site.house, reports)
    return Taken()
