"""The links in our mail: made from a row, read from a URL."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.domain.subscription import SELF_SERVICE_FOR
from app.services.house import House
from app.tokens import Purpose, TokenError, TokenExpired, TokenInvalid, pack, unpack


@dataclass(frozen=True, slots=True)
class ConfirmLink:
    """What a confirm link says: which request of which subscription, and whether it is too old."""

    subscription: UUID
    generation: int
    sequence: int
    expired: bool


def confirm_url(
    house: House, subscription: UUID, generation: int, sequence: int, at: datetime
) -> str:
    """Return the link that confirms one request; the same row always gives the same link."""
    token = house.tokens.sign(Purpose.CONFIRM, pack(subscription, generation, sequence), at)
    return f"{house.base_url}/confirm/{token}"


def unsubscribe_url(house: House, subscription: UUID, at: datetime) -> str:
    """Return the link that leaves one newsletter (RFC 8058); it never expires."""
    token = house.tokens.sign(Purpose.UNSUBSCRIBE, pack(subscription), at)
    return f"{house.base_url}/unsubscribe/{token}"


def preferences_path(house: House, subscriber: UUID, at: datetime) -> str:
    """Return where somebody chooses what to receive; who has a forwarded mail can go there, too."""
    return f"/preferences/{house.tokens.sign(Purpose.PREFERENCES, pack(subscriber), at)}"


def read_confirm(house: House, token: str) -> ConfirmLink:
    """Return what the token says. Raises TokenMissing or TokenInvalid."""
    expired = False
    try:
        payload = house.tokens.read(Purpose.CONFIRM, token, house.clock(), house.confirm_ttl)
    except TokenExpired as error:
        payload, expired = error.payload, True
    subscription, (generation, sequence) = unpack(payload, 2)
    return ConfirmLink(subscription, generation, sequence, expired)


def read_list_unsubscribe(house: House, header: str) -> UUID | None:
    """Return the subscription that a List-Unsubscribe field of ours names; None if it is not.

    White space does not count: a relay may have folded the field.
    """
    beginning = f"<{house.base_url}/unsubscribe/"
    folded = "".join(header.split())
    if not folded.startswith(beginning):
        return None
    try:
        return read_unsubscribe(house, folded.removeprefix(beginning).partition(">")[0])
    except TokenError:
        return None


def read_unsubscribe(house: House, token: str) -> UUID:
    """Return the subscription. Raises TokenMissing or TokenInvalid."""
    payload = house.tokens.read(Purpose.UNSUBSCRIBE, token, house.clock())
    return unpack(payload, 0)[0]


def self_service_url(house: House, subscriber: UUID, message: int, at: datetime) -> str:
    """Return the link to change everything: short-lived, and made only for a mail of its own."""
    payload = pack(subscriber, message >> 32, message & 0xFFFFFFFF)
    return f"{house.base_url}/preferences/{house.tokens.sign(Purpose.SELF_SERVICE, payload, at)}"


@dataclass(frozen=True, slots=True)
class PreferencesLink:
    """Whose preferences; `proven` if it was mailed just now, on request and to nobody else."""

    subscriber: UUID
    proven: bool


def read_preferences(house: House, token: str) -> PreferencesLink:
    """Return what the token says. Raises TokenMissing, TokenInvalid or TokenExpired."""
    try:
        payload = house.tokens.read(Purpose.PREFERENCES, token, house.clock())
        return PreferencesLink(unpack(payload, 0)[0], proven=False)
    except TokenInvalid:
        payload = house.tokens.read(Purpose.SELF_SERVICE, token, house.clock(), SELF_SERVICE_FOR)
        return PreferencesLink(unpack(payload, 2)[0], proven=True)
