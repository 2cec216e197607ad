"""What every route needs: the installation that this process serves."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.db import keys as key_rows
from app.db.engine import Engine
from app.domain import text
from app.domain.errors import Unauthenticated
from app.remote.fetches import Fetcher
from app.services import keys
from app.services.catalog import Catalog
from app.services.commands import Source
from app.services.groups import Groups
from app.services.house import House
from app.services.keys import Key, Scope
from app.web import client_address
from app.web.client_address import Networks
from app.web.throttles import Throttle


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose word on our mail counts, and what else it takes to prove it."""

    ses_topics: frozenset[str]
    mailgun_key: bytes | None = field(repr=False)
    fetcher: Fetcher


@dataclass(frozen=True, slots=True)
class Site:
    """The rules, the database, the door, who is trusted, how the client's address is read.

    `wake` tells a worker in the same process that there is mail; others learn it by the database.
    """

    house: House
    engine: Engine
    groups: Groups
    wake: Callable[[], None]
    trusted_proxies: Networks
    consent_ip: str
    is_draining: Callable[[], bool]
    trust: Trust
    throttle: Throttle

    async def catalog(self) -> Catalog:
        """Return newsletters, wordings and policies as they are now."""
        return await self.engine.read(self.house.catalog.current)

    async def admit(self, request: Request) -> None:
        """Count a public POST that no signed token stands for; raises TooMany if it is too much."""
        await self.throttle.admit(client_address.of(request, self.trusted_proxies))

    def source(self, request: Request, method: str, page_url: str | None = None) -> Source:
        """Return where a request came from, for the record."""
        ip = client_address.of(request, self.trusted_proxies)
        return Source(
            method=method,
            ip=client_address.recorded(ip, self.consent_ip),
            user_agent=text.user_agent(request.headers.get("user-agent")),
            page_url=text.page_url(page_url),
        )


async def _site(request: Request) -> Site:  # not `def`: that would cost a hop to a thread
    site: Site = request.app.state.site
    return site


AnySite = Annotated[Site, Depends(_site)]


_Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(HTTPBearer(auto_error=False, scheme_name="key", bearerFormat="nl_<id>_<secret>")),
]


def key_with(scope: Scope | None) -> Callable[..., object]:
    """Return a dependency that lets in whoever presents a valid key with the scope."""

    async def check(site: AnySite, bearer: _Bearer) -> Key:
        if bearer is None:
            raise Unauthenticated("Send a key: Authorization: Bearer nl_...")
        return await checked(site, bearer.credentials.strip(), scope)

    return check


async def checked(site: Site, presented: str, scope: Scope | None) -> Key:
    """Return the key if it is valid and has the scope; raises Unauthenticated or Forbidden."""
    now = site.house.clock()
    key = await site.engine.read(keys.check, presented, now)
    if key.is_stale:
        await site.engine.write(key_rows.touch, key.id, now)
    key.require(scope)
    return key


ReadingKey = Annotated[Key, Depends(key_with(Scope.SUBSCRIBERS_READ))]
WritingKey = Annotated[Key, Depends(key_with(Scope.SUBSCRIBERS_WRITE))]
SendingKey = Annotated[Key, Depends(key_with(Scope.ISSUES_SEND))]
NewsletterKey = Annotated[Key, Depends(key_with(Scope.NEWSLETTERS_WRITE))]
AnyKey = Annotated[Key, Depends(key_with(None))]
