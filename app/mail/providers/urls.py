"""What the MAIL_URL of a provider is made of; no error repeats any part of it."""

import re
from urllib.parse import SplitResult, unquote

_VISIBLE = re.compile(r"[!-~]+")


def credential(value: str | None, what: str) -> str:
    """Return a key or token, percent-decoded; raises ValueError if there is none, or not one."""
    decoded = unquote(value or "")
    if not decoded:
        raise ValueError(f"The mail URL has no {what}.")
    if not _VISIBLE.fullmatch(decoded):
        raise ValueError(f"The {what} of the mail URL must be printable ASCII without spaces.")
    return decoded


def parameter(parts: SplitResult, name: str) -> str | None:
    """Return the only parameter that a URL may have, percent-decoded, None if it is not there.

    A `+` stays what it is: session tokens have them, and none has a space.
    """
    if not parts.query:
        return None
    found, _, value = parts.query.partition("=")
    if found != name or not value or "&" in value:
        raise ValueError(f"After its host the mail URL can only have ?{name}=.")
    return unquote(value)
