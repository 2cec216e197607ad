"""How much mail a public form may cause to one address: the victim is protected."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.subscription import Mail

WINDOW = timedelta(days=30)
UNANSWERED = 3
IN_ALL = 10
REMINDER_EVERY = timedelta(days=1)


@dataclass(slots=True)
class Budget:
    """What one abuse key has had of one newsletter, or (empty newsletter) of all together."""

    hash: str
    newsletter: str
    last_at: datetime | None = None
    window_start: datetime | None = None
    count: int = 0
    reminded_at: datetime | None = None
    refused: int = 0

    def allows(self, now: datetime, limit: int) -> bool:
        """Tell whether the window has room; one that is over has all of it."""
        over = self.window_start is None or now - self.window_start >= WINDOW
        return over or self.count < limit

    def spend(self, now: datetime) -> None:
        """Count one mail."""
        if self.window_start is None or now - self.window_start >= WINDOW:
            self.window_start, self.count = now, 0
        self.count += 1
        self.last_at = now

    def answer(self, at: datetime | None) -> None:
        """Forget what was counted if the person has confirmed since the last mail."""
        if at is not None and self.last_at is not None and at >= self.last_at:
            self.count = 0


def may_mail(own: Budget, whole: Budget, mail: Mail, now: datetime, cooldown: timedelta) -> bool:
    """Tell whether a public form may cause this mail now, in one newsletter and in all."""
    if own.last_at is not None and now - own.last_at < cooldown:
        return False
    reminded = own.reminded_at if mail is Mail.ALREADY_SUBSCRIBED else None
    if reminded is not None and now - reminded < REMINDER_EVERY:
        return False
    return own.allows(now, UNANSWERED) and whole.allows(now, IN_ALL)


def spend(own: Budget, whole: Budget, mail: Mail, now: datetime) -> None:
    """Count a mail that was allowed."""
    own.spend(now)
    whole.spend(now)
    if mail is Mail.ALREADY_SUBSCRIBED:
        own.reminded_at = now


def keyed_hash(key: bytes, purpose: str, value: str) -> str:
    """Return hex HMAC-SHA256: a name for an address that cannot be guessed without the key."""
    return hmac.new(key, f"{purpose}:{value}".encode(), hashlib.sha256).hexdigest()
