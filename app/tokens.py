"""Signed tokens: one signer per purpose, three ways to fail, the time given by the caller."""

import re
from base64 import b32encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest
from uuid import UUID

from itsdangerous import BadData, TimestampSigner

LEEWAY = timedelta(minutes=5)
"""How far ahead another host's clock may be."""

MARK_LENGTH = 36
"""The longest mark: a number of 19 digits, a dot, 80 bits in base32."""

_MAX_LENGTH = 512
_MARK = re.compile(r"([1-9][0-9]{0,18})\.([a-z2-7]{16})")


class Purpose(StrEnum):
    """What a token may do; a token of one purpose is invalid for every other."""

    CONFIRM = "confirm"
    UNSUBSCRIBE = "unsubscribe"
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


class _Signer(TimestampSigner):
    """An itsdangerous signer whose clock is set by hand, so that a token can be made again."""

    default_digest_method = staticmethod(sha256)
    moment = 0

    def get_timestamp(self) -> int:
        return self.moment


@dataclass(frozen=True, slots=True)
class Tokens:
    """Signs with the newest key and verifies with all; keys are newest first."""

    keys: tuple[str, ...]

    def sign(self, purpose: Purpose, payload: bytes, at: datetime) -> str:
        """Return a token that carries the payload and the time, in whole seconds."""
        signer = self._signer(purpose)
        signer.moment = int(at.timestamp())
        return signer.sign(urlsafe_b64encode(payload).rstrip(b"=")).decode()

    def read(
        self, purpose: Purpose, token: str, now: datetime, lifetime: timedelta | None = None
    ) -> bytes:
        """Return the payload. Raises TokenMissing, TokenInvalid or TokenExpired."""
        if not token:
            raise TokenMissing
        if len(token) > _MAX_LENGTH or not token.isascii():
            raise TokenInvalid
        try:
            value, signed_at = self._signer(purpose).unsign(token, return_timestamp=True)
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
        signer = self._signer(purpose)
        return f"{number}.{_seal(signer, signer.secret_keys[-1], str(number))}"

    def read_mark(self, purpose: Purpose, mark: str) -> int:
        """Return the number of a mark. Raises TokenInvalid."""
        signer = self._signer(purpose)
        found = _MARK.fullmatch(mark.lower())
        if found is None:
            raise TokenInvalid
        if not any(
            compare_digest(found[2], _seal(signer, k, found[1])) for k in signer.secret_keys
        ):
            raise TokenInvalid
        return int(found[1])

    def _signer(self, purpose: Purpose) -> _Signer:
        oldest_first: Sequence[str] = self.keys[::-1]
        return _Signer(list(oldest_first), salt=f"newsletter.{purpose}", key_derivation="hmac")


def _seal(signer: _Signer, key: bytes, value: str) -> str:
    signature = signer.algorithm.get_signature(signer.derive_key(key), value.encode("ascii"))
    return b32encode(signature[:10]).decode("ascii").lower()


def pack(subscription: UUID, *numbers: int) -> bytes:
    """Return an identifier and small numbers as the payload of a token."""
    return subscription.bytes + b"".join(number.to_bytes(4, "big") for number in numbers)


def unpack(payload: bytes, numbers: int) -> tuple[UUID, tuple[int, ...]]:
    """Return what `pack` packed. Raises TokenInvalid if the payload has another length."""
    if len(payload) != 16 + 4 * numbers:
        raise TokenInvalid
    rest = payload[16:]
    values = (int.from_bytes(rest[i : i + 4], "big") for i in range(0, len(rest), 4))
    return UUID(bytes=payload[:16]), tuple(values)
