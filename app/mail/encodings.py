"""Text as bytes for the wire: encoded-words, quoted-printable, and places to fill in later.

A place is written NUL, its name, NUL; no text from outside can contain one, because NUL is
refused everywhere.
"""

import binascii
import re
from base64 import b64encode

PLACE = re.compile(rb"\0([a-z_]+)\0")

_HEADER_LINE = 78
_WORD_OCTETS = 42
"""Base64 of 42 octets and the frame of an encoded-word stay below 75 (RFC 2047 2)."""


def place(name: str) -> str:
    """Return the mark that stands where a value will come."""
    return f"\0{name}\0"


def unstructured(name: str, text: str) -> bytes:
    """Return a header of free text: as it is if short ASCII, else as encoded-words."""
    plain = text.isascii() and len(name) + 2 + len(text) <= _HEADER_LINE
    return f"{name}: {text if plain else _words(text)}\r\n".encode("ascii")


def mailbox(name: str, phrase: str | None, address: str) -> bytes:
    """Return a header of one address; its local part may be non-ASCII (RFC 6532)."""
    if phrase is None:
        return f"{name}: {address}\r\n".encode()
    if phrase.isascii():
        quoted = phrase.replace("\\", r"\\").replace('"', r"\"")
        phrase = f'"{quoted}"'
    else:
        phrase = _words(phrase)
    return f"{name}: {phrase}\r\n <{address}>\r\n".encode()


def _words(text: str) -> str:
    """Cut between characters, never inside one: each word must decode alone (RFC 2047 5)."""
    chunks = [""]
    for character in text:
        if len((chunks[-1] + character).encode()) > _WORD_OCTETS:
            chunks.append("")
        chunks[-1] += character
    words = (b64encode(chunk.encode()).decode("ascii") for chunk in chunks)
    return "\r\n ".join(f"=?utf-8?b?{word}?=" for word in words)


def quoted_printable(text: str) -> bytes:
    """Encode a body; each place stays as it is, between soft line breaks where needed."""
    pieces = PLACE.split(text.encode())
    encoded = [pieces[0] and soft(pieces[0])]
    for name, following in zip(pieces[1::2], pieces[2::2], strict=True):
        if encoded[-1] and not encoded[-1].endswith(b"\n"):
            encoded.append(b"=\r\n")
        encoded.append(b"\0" + name + b"\0")
        if following and not following.startswith(b"\n"):
            encoded.append(b"=\r\n")
        encoded.append(soft(following))
    return b"".join(encoded)


def soft(value: bytes) -> bytes:
    """Encode as quoted-printable lines (RFC 2045 6.7) that leave room for one more `=`.

    The encoder fills the very last line to 76; with one more character, cut off again, it stops
    at 75, so that a soft line break may follow.
    """
    return binascii.b2a_qp(value + b"x")[:-1].replace(b"\n", b"\r\n")
