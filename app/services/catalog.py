"""Newsletters, wordings and policies, kept in memory and reloaded when one of them changes."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from app.db import newsletters, policies
from app.db.newsletters import Newsletter
from app.db.policies import Policy
from app.domain.errors import Fault, Invalid, NoPolicy

SUPERSEDED_GRACE = timedelta(hours=1)
"""How long a form that was open when a new policy came may still be sent."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that a form can name, as of one moment."""

    newsletters: dict[str, Newsletter]
    wordings: dict[tuple[str, str], str]
    policies: tuple[Policy, ...]

    def newsletter(self, slug: str | None) -> Newsletter:
        """Return the named newsletter, or the default, or the only one."""
        if slug is not None:
            found = self.newsletters.get(slug)
        else:
            found = next((n for n in self.newsletters.values() if n.is_default), None)
            if found is None and len(self.newsletters) == 1:
                found = next(iter(self.newsletters.values()))
        if found is None:
            unnamed = "Name a newsletter: there is no default."
            detail = unnamed if slug is None else "There is no such newsletter."
            raise Invalid([Fault("/newsletter", detail)])
        return found

    def policy(self, version: str | None, now: datetime) -> Policy:
        """Return the current policy, or the named one if it is current or was within the hour."""
        if not self.policies:
            raise NoPolicy("No privacy policy has been published yet.")
        current = self.policies[0]
        if version is None or version == current.version:
            return current
        for newer, older in zip(self.policies, self.policies[1:], strict=False):
            if older.version == version and now - newer.published_at < SUPERSEDED_GRACE:
                return older
        known = any(policy.version == version for policy in self.policies)
        detail = "This version has been superseded." if known else "There is no such version."
        extra = {"current": current.version}
        raise Invalid([Fault("/policy_version", f"{detail} Show the current one.", extra)])

    def wording(self, newsletter: Newsletter, named: str | None) -> tuple[str, str]:
        """Return hash and language of the named wording, or of the newsletter's current one."""
        chosen = named or newsletter.wording
        locale = self.wordings.get((newsletter.slug, chosen))
        if locale is None:
            raise Invalid([Fault("/wording", "This newsletter has no such consent text.")])
        return chosen, locale

    def origins(self) -> set[str]:
        """Return every web origin that some newsletter lists."""
        return {origin for n in self.newsletters.values() for origin in n.allowed_origins}


class CatalogCache:
    """The catalog of one process; a cheap query tells whether it is still true."""

    def __init__(self) -> None:
        """Start with nothing, which no database's stamp equals."""
        self._stamp: tuple[int, int, int] | None = None
        self._catalog = Catalog({}, {}, ())

    @property
    def known(self) -> Catalog:
        """Return the catalog as it was last seen; nothing is read, and it may be out of date."""
        return self._catalog

    def current(self, connection: Connection) -> Catalog:
        """Return the catalog as this transaction sees it."""
        stamp = newsletters.stamp(connection)
        if stamp != self._stamp:
            found = {n.slug: n for n in newsletters.read_all(connection)}
            wordings = newsletters.wording_locales(connection)
            catalog = Catalog(found, wordings, tuple(policies.read_all(connection)))
            # The order matters to a reader in another thread: it may reload once more, never less.
            self._catalog, self._stamp = catalog, stamp
            return catalog
        return self._catalog
