"""A mail from anybody, taken apart one level deep: whatever the bytes, it ends and never fails.

The standard library's parser follows every level that a stranger nests and raises many kinds of
errors on what is broken. A report (RFC 6522) is read from its direct parts alone.
"""

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

_PARTS = 10
_FIELD = re.compile(rb"(?m)^([!-9;-~]+)[ \t]*:[ \t]*([^\n]*(?:\n[ \t][^\n]*)*)")
_FOLD = re.compile(r"\n[ \t]+")
_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)

Fields = Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class Part:
    """A mail or a part of one: its fields by lower-case name in their order, and its body."""

    fields: Fields
    body: bytes

    def first(self, name: str) -> str:
        """Return the first value of a field; empty if there is none."""
        return next(iter(self.fields.get(name, [])), "")

    @property
    def content_type(self) -> str:
        """The type without parameters, in lower case."""
        return self.first("content-type").partition(";")[0].strip().lower()

    @property
    def decoded(self) -> bytes:
        """The body without its transfer encoding (RFC 2045 6); empty if that is broken."""
        match self.first("content-transfer-encoding").strip().lower():
            case "base64":
                try:
                    return _with_plain_ends(binascii.a2b_base64(self.body))
                except binascii.Error:
                    return b""
            case "quoted-printable":
                return _with_plain_ends(binascii.a2b_qp(self.body))
            case _:
                return self.body


def take(content: bytes) -> Part:
    """Return a whole mail; its lines end with LF from here on."""
    return _part(_with_plain_ends(content))


def direct_parts(mail: Part) -> list[Part]:
    """Return the parts of a multipart, the first few if there are many; none of another mail.

    One that was cut short is read as far as it goes.
    """
    found = _BOUNDARY.search(mail.first("content-type"))
    if not mail.content_type.startswith("multipart/") or found is None:
        return []
    boundary = re.escape((found[1] or found[2]).encode())
    pieces = re.split(rb"(?m)^--%b(?:--)?[ \t]*$\n?" % boundary, mail.body, maxsplit=_PARTS)
    return [_part(piece) for piece in pieces[1:]]


def fields_of(block: bytes) -> Fields:
    """Return the fields of a block of lines that end with LF; what is no field is left out."""
    fields: dict[str, list[str]] = {}
    for name, value in _FIELD.findall(block):
        unfolded = _FOLD.sub(" ", value.decode("utf-8", "replace")).strip()
        fields.setdefault(name.decode("ascii").lower(), []).append(unfolded)
    return fields


def _part(piece: bytes) -> Part:
    head, _, body = (b"\n" + piece).partition(b"\n\n")
    return Part(fields_of(head), body)


def _with_plain_ends(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n")
