"""The command that reads bounces and complaints from a mailbox."""

import json
import sys
from collections import Counter
from itertools import islice
from typing import Annotated

import typer

from app.cli import database
from app.domain.feedback import Happened
from app.mail.feedback import reports
from app.mail.mailboxes.unread import Mailbox
from app.mail.mailboxes.urls import open_mailbox
from app.main import configure_logging, house_of
from app.services import bounces
from app.settings import Settings

BATCH = 100
"""So many mails are handled, committed and then marked as read at a time."""

_feedback = typer.Typer(help="What is told of mail that was sent.", no_args_is_help=True)

_ORDER = (
    *(Happened.HARD_BOUNCE, Happened.COMPLAINT, Happened.SOFT_BOUNCE, Happened.UNSUBSCRIBED),
    *(Happened.FAILED, Happened.DEFERRED, Happened.DELIVERED, Happened.ACCEPTED),
    *(Happened.UNKNOWN, bounces.IGNORED, bounces.UNMATCHED),
)
_COUNTABLE = {Happened.HARD_BOUNCE, Happened.COMPLAINT, Happened.SOFT_BOUNCE}


def add_to(app: typer.Typer) -> None:
    """Add this group of commands."""
    app.add_typer(_feedback, name="feedback")


@_feedback.callback()
def _group() -> None:
    """Keep `read` a word of its own: typer would drop the name of a lone command."""


@_feedback.command("read")
def read(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="maildir:///path, imaps://user:password@host/INBOX, imap://...; or - to read the "
            "URL from standard input, where no list of processes shows the password.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Read bounces and complaints, act on those about mail of ours, and mark all as read."""
    settings = Settings()
    settings.require_production()
    configure_logging(settings.log_format)
    with open_mailbox(sys.stdin.readline().strip() if url == "-" else url) as mailbox:
        read_count, tally = _read_all(settings, mailbox)
    typer.echo(_as_json(read_count, tally) if as_json else _as_line(read_count, tally))


def _read_all(settings: Settings, mailbox: Mailbox) -> tuple[int, Counter[str]]:
    """Commit first, then mark: what a crash between the two leaves unread only counts once."""
    house, read_count, tally = house_of(settings), 0, Counter[str]()
    unread = ((mail.key, reports.read(mail.content)) for mail in mailbox.unread())
    while batch := list(islice(unread, BATCH)):
        mails = [mail for _, mail in batch]
        tally.update(database.write(settings, bounces.receive, house, mails))
        mailbox.mark([key for key, _ in batch])
        read_count += len(batch)
    return read_count, tally


def _as_json(read_count: int, tally: Counter[str]) -> str:
    names = (*_ORDER, bounces.KNOWN)
    return json.dumps({"read": read_count, **{str(name): tally[name] for name in names}})


def _as_line(read_count: int, tally: Counter[str]) -> str:
    counts = ", ".join(_counted(name, tally[name]) for name in _ORDER if tally[name])
    known = f" ({tally[bounces.KNOWN]} known already)" if tally[bounces.KNOWN] else ""
    return f"read {read_count}" + (f": {counts}{known}" if counts else "")


def _counted(name: str, count: int) -> str:
    plural = "s" if name in _COUNTABLE and count > 1 else ""
    return f"{count} {name.replace('_', ' ')}{plural}"
