"""Commands on what is stored: keys, newsletters, policies, consent."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import AwareDatetime, TypeAdapter, ValidationError
from sqlalchemy.engine import Connection

from app.cli import database
from app.db import keys as key_rows
from app.db import subscribers
from app.db.newsletters import Newsletter
from app.domain import address
from app.domain.errors import Fault, Invalid, NotFound
from app.services import consents, keys, newsletters, policies
from app.services.house import utc_now
from app.services.keys import Scope, Wish
from app.settings import Settings
from app.web import bodies
from app.web.api.newsletters import NewNewsletter
from app.web.api.policies import NewPolicy

_keys = typer.Typer(help="API keys.", no_args_is_help=True)
_newsletters = typer.Typer(help="Newsletters.", no_args_is_help=True)
_policies = typer.Typer(help="Versions of the privacy policy.", no_args_is_help=True)
_consent = typer.Typer(help="The record of consent.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add these groups of commands."""
    app.add_typer(_keys, name="keys")
    app.add_typer(_newsletters, name="newsletters")
    app.add_typer(_policies, name="policies")
    app.add_typer(_consent, name="consent")


@_keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; repeat for several.")],
    newsletter: Annotated[str | None, typer.Option(help="Limit it to one newsletter.")] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends, RFC 3339.")] = None,
) -> None:
    """Make a key and print it, alone and only this once."""
    wish = Wish(name=name, scopes=scope, newsletter=newsletter, expires_at=_time(expires))
    typer.echo(database.write(Settings(), keys.create, wish, utc_now()))


def _time(value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        return TypeAdapter(AwareDatetime).validate_python(value)
    except ValidationError as error:
        detail = "use a time with a zone, such as 2027-01-31T00:00:00Z"
        raise Invalid([Fault("/expires", detail)]) from error


@_keys.command("list")
def list_keys() -> None:
    """List keys: id, name, scopes, state. The keys themselves are not kept."""
    for row in database.read(Settings(), key_rows.read_all):
        state = "revoked" if row["revoked_at"] else f"expires {row['expires_at'] or 'never'}"
        limits = row["newsletter"] or "all newsletters"
        used = row["last_used_at"] or "never"
        line = (row["id"], row["name"], ",".join(row["scopes"]), limits, state, f"used {used}")
        typer.echo("\t".join(str(part) for part in line))


@_keys.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="Its id, from keys list.")]) -> None:
    """Revoke a key at once."""
    database.write(Settings(), keys.revoke, key_id, utc_now())
    typer.echo(f"revoked {key_id}")


@_newsletters.command("create")
def create_newsletter(
    slug: Annotated[str, typer.Argument(help="Its name in addresses; cannot be changed.")],
    name: Annotated[str, typer.Option(help="Its name for people.")],
    from_address: Annotated[str, typer.Option("--from", help="The sender's address.")],
) -> None:
    """Create a newsletter."""
    values = {"slug": slug, "name": name, "from_address": from_address}
    body = bodies.checked(NewNewsletter, values)
    made: Newsletter = database.write(Settings(), newsletters.create, body.columns(), utc_now())
    typer.echo(f"created {made.slug}")


@_policies.command("publish")
def publish_policy(
    version: Annotated[str, typer.Argument(help="A label, such as a date.")],
    url: Annotated[str, typer.Argument(help="Where people can read it.")],
    file: Annotated[Path, typer.Option(help="Its text, UTF-8.", exists=True, dir_okay=False)],
) -> None:
    """Publish a version of the privacy policy; it becomes the current one."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Invalid([Fault("/file", "the text must be UTF-8")]) from error
    body = bodies.checked(NewPolicy, {"version": version, "url": url, "text": text})
    made = database.write(
        Settings(), policies.publish, body.version, body.url, body.text, utc_now()
    )
    typer.echo(f"published {made.version} (SHA-256 {made.sha256})")


@_consent.command("verify")
def verify() -> None:
    """Recompute the whole record; exit code 1 and the first broken event if it does not hold."""
    report = database.read(Settings(), consents.verify)
    if report.broken is not None:
        typer.echo(f"broken: {report.broken}")
        raise typer.Exit(1)
    typer.echo(f"verified {report.events} events of {report.subscriptions} subscriptions")


@_consent.command("proof")
def proof(named: Annotated[str, typer.Argument(metavar="ADDRESS", help="Whose.")]) -> None:
    """Print all that proves the consent of one person, as JSON."""
    try:
        key = address.parse(named).key
    except ValueError as error:
        raise Invalid([Fault("/address", str(error))]) from error
    found = database.read(Settings(), _proof, key)
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False, default=_plain))


def _proof(connection: Connection, key: str) -> dict[str, Any]:
    subscriber_id = subscribers.find(connection, key)
    if subscriber_id is None:
        raise NotFound("there is no subscriber with this address")
    return consents.proof(connection, subscriber_id)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
