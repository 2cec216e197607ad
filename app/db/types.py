"""Column types that hold the same values on both databases."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Integer,
    String,
    Text,
    TypeDecorator,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB


class Time(TypeDecorator[datetime]):
    """An instant: `timestamptz` on PostgreSQL, sortable UTC text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:  # noqa: ANN401 - SQLAlchemy's signature
        """Pick the type for the engine."""
        sqlite = dialect.name == "sqlite"
        return dialect.type_descriptor(String(27) if sqlite else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:  # noqa: ANN401
        """Turn an aware datetime into what is stored."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ANN401
        """Turn what is stored into an aware datetime.

        Text that is no time is returned as it is, so that a forged one can be named by verify.
        """
        if value is None or dialect.name != "sqlite":
            return value
        try:
            return datetime.fromisoformat(value)
        except (TypeError, ValueError):
            return value


class Id(TypeDecorator[UUID]):
    """A UUID: native on PostgreSQL, its text on SQLite, where a forged one stays text."""

    impl = Uuid
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:  # noqa: ANN401
        """Pick the type for the engine."""
        return dialect.type_descriptor(String(36) if dialect.name == "sqlite" else Uuid())

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> Any:  # noqa: ANN401
        """Turn a UUID into what is stored."""
        return str(value) if isinstance(value, UUID) and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ANN401
        """Turn what is stored into a UUID."""
        if value is None or dialect.name != "sqlite":
            return value
        try:
            return UUID(value)
        except (TypeError, ValueError):
            return value


Bytewise = Text().with_variant(Text(collation="C"), "postgresql")
Document = JSON().with_variant(JSONB(), "postgresql")
Serial = BigInteger().with_variant(Integer(), "sqlite")
