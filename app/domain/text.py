"""Every string from outside goes through `clean` before anything else sees it."""

import re
import unicodedata
from urllib.parse import urlsplit

NAME_LENGTH = 100
PAGE_URL_LENGTH = 2048
USER_AGENT_LENGTH = 512

_FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: NUL ends strings, CR and LF make headers
    "\u2028\u2029"  # line and paragraph separators: a new line to some readers
    "\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069"  # bidi controls: text that reads as another
    "\ud800-\udfff]"  # surrogates have no UTF-8
)
_LOCALE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}")
_LINK = re.compile(r"://|www\.", re.IGNORECASE)


def clean(value: str, maximum: int, *, multiline: bool = False, header: bool = False) -> str:
    """Return the value in NFC, without white space around it.

    `multiline` allows line feeds (CRLF becomes LF) and tabs; `header` refuses what a mail header
    could take for an encoded word (RFC 2047), because Python before 3.11.10 decodes it into new
    headers. Raises ValueError with a sentence that does not repeat the value.
    """
    if len(value) > maximum * 2:
        raise ValueError(_too_long(maximum))
    plain = value.replace("\r\n", "\n") if multiline else value
    if _FORBIDDEN.search(re.sub("[\n\t]", "", plain) if multiline else plain):
        raise ValueError("Remove control characters and invisible direction marks.")
    text = unicodedata.normalize("NFC", plain).strip()
    if len(text) > maximum:
        raise ValueError(_too_long(maximum))
    if header and "=?" in text:
        raise ValueError("Remove the characters =? from this text.")
    return text


def _too_long(maximum: int) -> str:
    return f"Use at most {maximum} characters."


def person_name(value: str) -> str:
    """Return a person's name; one with a link in it is advertising and is refused."""
    text = clean(value, NAME_LENGTH, header=True)
    if _LINK.search(text):
        raise ValueError("A name cannot contain a link.")
    return text


def locale(value: str) -> str:
    """Return a language tag (RFC 5646) as it was given, if it looks like one."""
    text = clean(value, 35)
    if not _LOCALE.fullmatch(text):
        raise ValueError("Use a language tag such as en or pt-BR.")
    return text


def page_url(value: str | None) -> str | None:
    """Return the page without query and fragment, which may hold personal data; None if bad."""
    try:
        parts = urlsplit(clean(value or "", PAGE_URL_LENGTH))
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not host:
        return None
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def user_agent(value: str | None) -> str | None:
    """Return the header cut to its length and without what `clean` forbids; None if empty."""
    text = unicodedata.normalize("NFC", _FORBIDDEN.sub("", value or "")).strip()
    return text[:USER_AGENT_LENGTH] or None
