"""Signed tokens: one signer per purpose, three ways to fail, the time given by the caller."""

import re
from base64 import b32encode, urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache, lru_cache
from hmac import compare_digest, digest
from uuid import UUID

from itsdangerous import BadData, TimestampSigner
from itsdangerous.encoding import base64_encode, int_to_bytes, want_bytes
from itsdangerous.signer import SigningAlgorithm

LEEWAY = timedelta(minutes=5)
"""How far ahead another host's clock may be."""

MARK_LENGTH = 36
"""The longest mark: a number of 19 digits, a dot, 80 bits in base32."""

_MAX_LENGTH = 512
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_MARK = re.compile(r"([1-9][0-9]{0,18})\.([a-z2-7]{16})")


class Purpose(StrEnum):
    """What a token may do; a token of one purpose is invalid for every other."""

    CONFIRM = "confirm"
    UNSUBSCRIBE = "unsubscribe"
    PREFERENCES = "preferences"
    SELF_SERVICE = "self_service"
    CURSOR = "cursor"
    BOUNCE = "bounce"


class TokenError(Exception):
    """A token cannot be used."""


class TokenMissing(TokenError):
    """There is none."""


class TokenInvalid(TokenError):
    """It was not signed by us for this purpose."""


class TokenExpired(TokenError):
    """It was ours, and is too old; `payload` says what it was for."""

    def __init__(self, payload: bytes) -> None:
        """Keep the payload."""
        super().__init__()
        self.payload = payload


class _Sha256(SigningAlgorithm):
    """HMAC-SHA256 in one call of the C library, a fifth of the time that a HMAC object takes."""

    def get_signature(self, key: bytes, value: bytes) -> bytes:
        return digest(key, value, "sha256")


class _Signer(TimestampSigner):
    """An itsdangerous signer that is told the time, so that a token can be made again.

    It derives each key once: to do so anew for every token costs more than signing it.
    """

    def __init__(self, keys: Sequence[str], purpose: str) -> None:
        salt = f"newsletter.{purpose}"
        super().__init__(list(keys), salt=salt, key_derivation="hmac", algorithm=_Sha256())
        self._derived = {key: self._derive(key) for key in self.secret_keys}

    def _derive(self, key: bytes) -> bytes:
        return digest(key, self.salt, "sha256")

    def derive_key(self, secret_key: str | bytes | None = None) -> bytes:
        return self._derived[self.secret_keys[-1] if secret_key is None else want_bytes(secret_key)]

    def sign_at(self, value: bytes, moment: int) -> bytes:
        """Return the bytes that `sign` returns at this moment, in a tenth of its calls."""
        signed = b"%b.%b" % (value, _stamp(moment))
        signature = digest(self._derived[self.secret_keys[-1]], signed, "sha256")
        return b"%b.%b" % (signed, _base64(signature))


@lru_cache(maxsize=256)
def _stamp(moment: int) -> bytes:
    """Return a second as itsdangerous writes it; a bulk of mail shares it."""
    return base64_encode(int_to_bytes(moment))


def _base64(value: bytes) -> bytes:
    return b2a_base64(value, newline=False).translate(_URL_SAFE).rstrip(b"=")


@cache
def _signer(keys: tuple[str, ...], purpose: str) -> _Signer:
    return _Signer(keys[::-1], purpose)  # itsdangerous wants the oldest first


@dataclass(frozen=True, slots=True)
class Tokens:
    """Signs with the newest key and verifies with all; keys are newest first."""

    keys: tuple[str, ...]

    def sign(self, purpose: Purpose, payload: bytes, at: datetime) -> str:
        """Return a token that carries the payload and the time, in whole seconds."""
        moment = int(at.timestamp())
        return _signer(self.keys, purpose).sign_at(_base64(payload), moment).decode()

    def read(
        self, purpose: Purpose, token: str, now: datetime, lifetime: timedelta | None = None
    ) -> bytes:
        """Return the payload. Raises TokenMissing, TokenInvalid or TokenExpired."""
        if not token:
            raise TokenMissing
        if len(token) > _MAX_LENGTH or not token.isascii():
            raise TokenInvalid
        try:
            value, signed_at = _signer(self.keys, purpose).unsign(token, return_timestamp=True)
            payload = urlsafe_b64decode(value + b"=" * (-len(value) % 4))
        except (BadData, ValueError) as error:
            raise TokenInvalid from error
        age = now - signed_at.astimezone(UTC)
        if age < -LEEWAY:
            raise TokenInvalid
        if lifetime is not None and age >= lifetime:
            raise TokenExpired(payload)
        return payload

    def mark(self, purpose: Purpose, number: int) -> str:
        """Return a number with a short signature that any change of case leaves valid.

        It is made for the local part of an address, where a token is too long (RFC 5321
        4.5.3.1.1) and case may get lost. It never expires.
        """
        signer = _signer(self.keys, purpose)
        return f"{number}.{_seal(signer, signer.secret_keys[-1], str(number))}"

    def read_mark(self, purpose: Purpose, mark: str) -> int:
        """Return the number of a mark. Raises TokenInvalid."""
        signer = _signer(self.keys, purpose)
        found = _MARK.fullmatch(mark.lower())
        if found is None:
            raise TokenInvalid
        if not any(
            compare_digest(found[2], _seal(signer, k, found[1])) for k in signer.secret_keys
        ):
            raise TokenInvalid
        return int(found[1])


def _seal(signer: _Signer, key: bytes, value: str) -> str:
    signature = signer.algorithm.get_signature(signer.derive_key(key), value.encode("ascii"))
    return b32encode(signature[:10]).decode("ascii").lower()


def pack(subscription: UUID, *numbers: int) -> bytes:
    """Return an identifier and small numbers as the payload of a token."""
    return subscription.bytes + b"".join([number.to_bytes(4, "big") for number in numbers])


def unpack(payload: bytes, numbers: int) -> tuple[UUID, tuple[int, ...]]:
    """Return what `pack` packed. Raises TokenInvalid if the payload has another length."""
    if len(payload) != 16 + 4 * numbers:
        raise TokenInvalid
    rest = payload[16:]
    values = (int.from_bytes(rest[i : i + 4], "big") for i in range(0, len(rest), 4))
    return UUID(bytes=payload[:16]), tuple(values)
