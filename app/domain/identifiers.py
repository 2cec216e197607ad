"""UUIDv7 (RFC 9562): identifiers that sort by the time they were made."""

import uuid
from datetime import datetime


def uuid7(at: datetime, entropy: bytes) -> uuid.UUID:
    """Return the identifier for a time (milliseconds count) and 10 random bytes."""
    value = int(at.timestamp() * 1000) << 80 | int.from_bytes(entropy, "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62)
