"""The command's entry: subcommands gathered, every failure told in one line."""

import sys

import typer
from pydantic import ValidationError

from app.cli import feedback, processes, records
from app.domain.errors import Invalid, Problem
from app.settings import SettingsError

_app = typer.Typer(
    name="newsletter",
    help="Newsletter subscriptions with double opt-in and provable consent.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
processes.add_to(_app)
records.add_to(_app)
feedback.add_to(_app)


def run() -> None:
    """Run the command; bad input is one line on standard error and exit code 2."""
    try:
        sys.exit(_app(standalone_mode=False) or 0)
    except typer.TyperException as error:
        _fail(error.format_message().replace("Value error, ", ""))
    except typer.Abort:
        sys.exit(130)
    except Invalid as error:
        _fail("; ".join(f"{fault.pointer.lstrip('/')}: {fault.detail}" for fault in error.faults))
    except Problem as error:
        _fail(error.detail)
    except ValidationError as error:
        _fail("; ".join(_setting_fault(e["loc"], e["msg"]) for e in error.errors()))
    except (SettingsError, ValueError, OSError) as error:
        _fail(str(error))


def _setting_fault(location: tuple[int | str, ...], message: str) -> str:
    name = "NEWSLETTER_" + "_".join(str(part) for part in location[:1]).upper()
    return f"{name.removesuffix('_')}: {message.removeprefix('Value error, ')}"


def _fail(sentence: str) -> None:
    if sentence:  # there is none after a command without arguments has shown its help
        typer.echo(f"newsletter: {' '.join(sentence.split())}", err=True)
    sys.exit(2)
