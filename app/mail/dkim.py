"""DKIM: a domain vouches for our mail by a signature over its headers and body (RFC 6376)."""

import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

SIGNED = (
    *("From", "To", "Subject", "Date", "Message-ID", "Reply-To", "MIME-Version", "Content-Type"),
    *("Auto-Submitted", "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post"),
)
"""Each is named once more than it is there, so that none can be added (RFC 6376 8.15)."""

BITS = range(2048, 4097)
"""RFC 8301 3.2: signers use 2048 or more, and verifiers need not know more than 4096."""

_KEY_FILE_OCTETS = 65_536
_LINE = 78
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_SELECTOR = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_NAME_OCTETS = 253

_FIELD = re.compile(rb"(?m)^([^\s:]+)[ \t]*:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)\r\n")
_SPACES = re.compile(rb"\t[ \t]*| [ \t]+")
_LAST_LINES = re.compile(rb"(?:\r\n)+\Z")


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs for one domain with the key that is published at `selector._domainkey.domain`."""

    domain: str
    selector: str
    key: RSAPrivateKey = field(repr=False)

    def sign(self, content: bytes) -> bytes:
        """Return the message with a signature before it: rsa-sha256, relaxed/relaxed.

        `content` has CRLF line ends. There is no time in the signature and RSA takes no chance
        (PKCS#1 v1.5), so the same message has the same bytes at every attempt.
        """
        head, _, body = content.partition(b"\r\n\r\n")
        names, signed = _chosen(head + b"\r\n")
        digest = b64encode(sha256(relaxed_body(body)).digest()).decode("ascii")
        unsigned = self._header(names, digest)
        proof = _relaxed(b"DKIM-Signature", unsigned.partition(b":")[2])
        signature = self.key.sign(signed + proof, PKCS1v15(), hashes.SHA256())
        return self._header(names, digest, b64encode(signature).decode("ascii")) + b"\r\n" + content

    def _header(self, names: list[str], digest: str, signature: str = "") -> bytes:
        """Return the header without its last CRLF, folded where white space may stand."""
        listed = ":".join(names).replace(":", ":\0")
        tags = ["v=1", "a=rsa-sha256", "c=relaxed/relaxed", f"d={self.domain}"]
        tags += [f"s={self.selector}", f"h={listed}", f"bh={digest}"]
        pieces = [piece for tag in tags for piece in f"{tag}; ".split("\0")]
        values = [signature[start : start + 60] for start in range(0, len(signature), 60)]
        return _folded(["DKIM-Signature: ", *pieces, "b=", *values])


def open_signer(domain: str, selector: str, path: Path) -> Signer:
    """Return a signer with the key in a PEM file.

    Raises ValueError with a sentence that begins with the name of the setting that is wrong, and
    repeats nothing of the key.
    """
    if not _DOMAIN.fullmatch(domain):
        raise ValueError("DKIM_DOMAIN: write it as example.org, in ASCII.")
    if not _SELECTOR.fullmatch(selector):
        raise ValueError("DKIM_SELECTOR: use letters, digits, hyphens and dots.")
    if len(f"{selector}._domainkey.{domain}") > _NAME_OCTETS:
        raise ValueError("DKIM_SELECTOR: with the domain it is too long for a name in the DNS.")
    return Signer(domain.lower(), selector.lower(), _read_key(path))


def _read_key(path: Path) -> RSAPrivateKey:
    try:
        with path.open("rb") as file:
            key = serialization.load_pem_private_key(file.read(_KEY_FILE_OCTETS), None)
    except OSError as error:
        raise ValueError(f"DKIM_KEY: the file cannot be read: {error.strerror}.") from error
    except TypeError:
        raise ValueError("DKIM_KEY: the key is encrypted; store it without a password.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("DKIM_KEY: the file is not a private key in PEM form.") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("DKIM_KEY: the key must be an RSA key.")  # noqa: TRY004 - a value's fault
    if key.key_size not in BITS:
        raise ValueError(f"DKIM_KEY: the key must have {BITS[0]} to {BITS[-1]} bits.")
    return key


def _chosen(head: bytes) -> tuple[list[str], bytes]:
    """Return the names for `h=`, and the headers that they stand for, canonical.

    Of a header that is there several times the last counts first (RFC 6376 5.4.2).
    """
    found: dict[bytes, list[bytes]] = {}
    for match in _FIELD.finditer(head):
        found.setdefault(match[1].lower(), []).append(match[2])
    names, signed = [], []
    for name in SIGNED:
        values = found.get(name.lower().encode("ascii"), [])
        names += [name] * (len(values) + 1)
        signed += [_relaxed(name.encode("ascii"), value) + b"\r\n" for value in reversed(values)]
    return names, b"".join(signed)


def _relaxed(name: bytes, value: bytes) -> bytes:
    """Return a header in the canonical form of RFC 6376 3.4.2, without its CRLF."""
    unfolded = _SPACES.sub(b" ", value.replace(b"\r\n", b""))
    return name.lower() + b":" + unfolded.strip(b" ")


def relaxed_body(body: bytes) -> bytes:
    """Return a body in the canonical form of RFC 6376 3.4.4."""
    trimmed = (_SPACES.sub(b" ", body) + b"\r\n").replace(b" \r\n", b"\r\n")
    trimmed = _LAST_LINES.sub(b"\r\n", trimmed)
    return b"" if trimmed == b"\r\n" else trimmed


def _folded(pieces: Iterable[str]) -> bytes:
    lines = [""]
    for piece in pieces:
        if len(lines[-1]) > 1 and len(lines[-1] + piece.rstrip(" ")) > _LINE:
            lines.append(" ")
        lines[-1] += piece
    return "\r\n".join(line.rstrip(" ") for line in lines).encode("ascii")
