"""What the verbs need besides a connection: the rules of this installation, a clock, chance."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy.engine import Connection

from app.db.outbox import database_time
from app.domain.address import abuse_key
from app.domain.budget import keyed_hash
from app.domain.identifiers import uuid7
from app.domain.rate import Rate
from app.mail.dkim import Signer
from app.services.catalog import CatalogCache
from app.tokens import Tokens


def utc_now() -> datetime:
    """Return the time; the clock that everything uses outside tests."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """One installation, as values.

    `confirm_rate` is how many confirmation mails may leave before some of them wait. `mail_rates`
    hold for all mail, `domain_rates` for the domain of the recipient; bounces come to
    `bounce_address` if there is one, else to the sender; `dkim` signs all mail. `clock` is this
    process's; `shared_clock` is the database's, for what workers agree on.
    """

    base_url: str
    tokens: Tokens
    hash_key: bytes
    confirm_ttl: timedelta = timedelta(days=7)
    confirm_cooldown: timedelta = timedelta(minutes=15)
    confirm_rate: Rate | None = None
    mail_rates: tuple[Rate, ...] = ()
    domain_rates: Mapping[str, Rate] = field(default_factory=dict)
    bounce_address: str | None = None
    dkim: Signer | None = None
    clock: Callable[[], datetime] = utc_now
    shared_clock: Callable[[Connection], datetime] = database_time
    catalog: CatalogCache = field(default_factory=CatalogCache)

    @property
    def is_paced(self) -> bool:
        """Tell whether anything limits how fast mail may leave."""
        return bool(self.mail_rates or self.domain_rates)

    def new_id(self) -> UUID:
        """Return a new UUIDv7."""
        return uuid7(self.clock(), os.urandom(10))

    def address_hash(self, email_key: str) -> str:
        """Return the name of an address among suppressions."""
        return keyed_hash(self.hash_key, "address", email_key)

    def budget_hash(self, email_key: str) -> str:
        """Return the name of an address, all its variants folded, among mail budgets."""
        return keyed_hash(self.hash_key, "budget", abuse_key(email_key))
