"""JSON that others send, read member by member; what is not as it is described is Invalid."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from app.domain.errors import Fault, Invalid, Unreadable
from app.domain.text import clean

LENGTH = 255
"""Characters in an identifier, an address or a word."""

_OUR_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class Reading:
    """An object, and where it stands in the body (a JSON pointer, RFC 6901)."""

    values: Mapping[str, Any]
    pointer: str = ""

    def raw(self, name: str) -> str:
        """Return a text as it stands, however long; empty if there is none."""
        value = self.values.get(name)
        return value if isinstance(value, str) else ""

    def text(self, name: str) -> str:
        """Return a short text without control characters, or a whole number; empty if missing."""
        value = self.values.get(name)
        if value is None:
            return ""
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            self.refuse(name, "This must be a text.")
        try:
            return clean(value, LENGTH)
        except ValueError as error:
            self.refuse(name, str(error))

    def needed(self, name: str) -> str:
        """Return a text that has to be there."""
        return self.text(name) or self.refuse(name, "This is needed.")

    def word(self, name: str) -> str:
        """Return a text if it is one plain word, fit to be kept as a detail; else nothing."""
        value = self.raw(name)
        return value if _WORD.fullmatch(value) else ""

    def part(self, name: str) -> "Reading":
        """Return an object; an empty one if it is missing."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, dict):
            self.refuse(name, "This must be an object.")
        return Reading(value or {}, f"{self.pointer}/{name}")

    def parts(self, name: str) -> list["Reading"]:
        """Return a list of objects; an empty one if it is missing."""
        value = self.values.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.refuse(name, "This must be a list of objects.")
        return [Reading(item, f"{self.pointer}/{name}/{n}") for n, item in enumerate(value)]

    def texts(self, name: str) -> list[str]:
        """Return a list of short texts; an empty one if it is missing."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, list):
            self.refuse(name, "This must be a list of texts.")
        listed = Reading({str(n): v for n, v in enumerate(value or [])}, f"{self.pointer}/{name}")
        return [listed.needed(number) for number in listed.values]

    def moment(self, name: str) -> datetime:
        """Return a time (RFC 3339, or seconds since 1970) that has to be there, in UTC."""
        value = self.values.get(name)
        try:
            if isinstance(value, int | float):
                return datetime.fromtimestamp(value, UTC)
            found = datetime.fromisoformat(self.needed(name))
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        except (ValueError, OverflowError, OSError):
            self.refuse(name, "This must be a time.")

    def our_number(self, name: str) -> int | None:
        """Return our own number of a mail as it came back; None if it is not one of ours."""
        value = self.values.get(name)
        if isinstance(value, list):  # some providers give every tag several values
            value = value[0] if value else None
        return int(value) if isinstance(value, str) and _OUR_NUMBER.fullmatch(value) else None

    def refuse(self, name: str, detail: str) -> NoReturn:
        """Raise Invalid at a member."""
        raise Invalid([Fault(f"{self.pointer}/{name}", detail)])


def document(body: bytes | str) -> Reading:
    """Return the object that is the body; raises Unreadable unless it is JSON in UTF-8."""
    try:
        value = json.loads(body.decode() if isinstance(body, bytes) else body)
    except (ValueError, RecursionError) as error:
        raise Unreadable("The body is not valid JSON in UTF-8.") from error
    if not isinstance(value, dict):
        raise Unreadable("The body is not a JSON object.")
    return Reading(value)
