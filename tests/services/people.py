"""The door as tests use it: short commands in, and what can be seen of it afterwards."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection

from app.db import tables
from app.db.engine import Engine
from app.db.leases import Lease
from app.domain import address
from app.services import consents, links, outbox, subscriptions
from app.services.commands import (
    Bounce,
    Command,
    Complain,
    Confirm,
    Erase,
    Expire,
    Import,
    Result,
    SignUp,
    Source,
    Undo,
    Unsubscribe,
)
from app.services.consents import Report
from app.services.house import House

FORM = Source(
    method="form", ip="192.0.2.1", user_agent="Mozilla/5.0", page_url="https://example.org/blog"
)
PAGE = Source(method="page", ip="192.0.2.2", user_agent="Safari")
ADMIN = Source(method="import", actor="a1b2")
ANN = "ann@example.org"


def sign_up(email: str = ANN, slug: str | None = "insights", **values: Any) -> SignUp:  # noqa: ANN401
    return SignUp(address=address.parse(email), newsletter=slug, source=FORM, **values)


def imported(email: str = ANN, slug: str = "insights") -> Import:
    who = address.parse(email)
    return Import(address=who, newsletter=slug, evidence="paper form 7", source=ADMIN)


@dataclass(frozen=True)
class Door:
    """Carries out commands in one transaction, and looks at what came of them."""

    engine: Engine
    house: House

    async def __call__(self, *commands: Command) -> list[Result]:
        return await self.engine.write(subscriptions.apply, commands, self.house)

    async def rows(self, table: Any, *order: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        def read(connection: Connection) -> list[dict[str, Any]]:
            found = connection.execute(table.select().order_by(*(order or table.primary_key)))
            return [dict(row) for row in found.mappings()]

        return await self.engine.read(read)

    async def joined(self, email: str = ANN, slug: str = "insights") -> dict[str, Any]:
        """Return the subscription of an address; its status is `none` if there is none."""
        s, who = tables.subscriptions, tables.subscribers
        key = address.parse(email).key
        statement = select(s).join(who).where(who.c.email_key == key, s.c.newsletter == slug)

        def read(connection: Connection) -> dict[str, Any]:
            row = connection.execute(statement).mappings().first()
            return dict(row) if row else {"status": "none"}

        return await self.engine.read(read)

    async def status(self, email: str = ANN, slug: str = "insights") -> str:
        return str((await self.joined(email, slug))["status"])

    async def events(self) -> list[dict[str, Any]]:
        return await self.rows(tables.consent_events)

    async def kinds(self) -> list[str]:
        return [event["kind"] for event in await self.events()]

    async def mails(self) -> list[str]:
        return [row["kind"] for row in await self.rows(tables.outbox)]

    async def reasons(self) -> list[str]:
        return [row["reason"] for row in await self.rows(tables.suppressions)]

    async def links(self) -> list[str]:
        """Return the token of every confirmation mail, oldest first."""
        mails = [m for m in await self.rows(tables.outbox) if m["kind"] == "confirm"]
        urls = [
            links.confirm_url(
                self.house, m["subscription_id"], m["generation"], m["sequence"], m["created_at"]
            )
            for m in mails
        ]
        return [url.rpartition("/")[2] for url in urls]

    async def click(self, which: int = -1) -> Confirm:
        """Return the command of one confirmation link, the newest if not told otherwise."""
        return self.read((await self.links())[which])

    def read(self, token: str) -> Confirm:
        link = links.read_confirm(self.house, token)
        return Confirm(
            subscription=link.subscription,
            generation=link.generation,
            sequence=link.sequence,
            expired=link.expired,
            source=PAGE,
        )

    async def leave(self, email: str = ANN) -> Unsubscribe:
        return Unsubscribe(subscription=(await self.joined(email))["id"], source=PAGE)

    async def undo(self, email: str = ANN) -> Undo:
        return Undo(subscription=(await self.joined(email))["id"], source=PAGE)

    async def erase(self, email: str = ANN) -> Erase:
        return Erase(subscriber=(await self.joined(email))["subscriber_id"], source=PAGE)

    async def complain(self, email: str = ANN) -> Complain:
        source = Source(method="complaint")
        return Complain(subscription=(await self.joined(email))["id"], source=source)

    async def bounce(self, email: str = ANN) -> Bounce:
        return Bounce(subscription=(await self.joined(email))["id"])

    async def expire(self, email: str = ANN) -> Expire:
        found = await self.joined(email)
        return Expire(subscription=found["id"], before=self.house.clock())

    async def bring(self, status: str, email: str = ANN) -> None:
        """Bring an address into a status."""
        if status == "none":
            return
        await self(sign_up(email))
        if status != "pending":
            await self(await self.click())
        if status == "unsubscribed":
            await self(await self.leave(email))

    async def claim(self) -> list[Lease]:
        hand = await self.engine.write(outbox.claim, self.house, "worker", "test", 500)
        return hand.leases

    async def verify(self) -> Report:
        return await self.engine.read(consents.verify)


def answers(results: list[Result]) -> list[str]:
    """Return the answers, or the names of the problems."""
    return [str(getattr(result, "answer", type(result).__name__)) for result in results]
