"""delivery that can be trusted: rates, feedback, unsent mail by state."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "mail_rates",
        sa.Column("name", BYTEWISE, nullable=False, comment="transport and limit"),
        sa.Column("tokens", sa.Float(), nullable=False),
        sa.Column("refilled_at", TIME, nullable=False),
        sa.Column("booked_until", TIME, nullable=False, comment="when the last one put off may go"),
        sa.PrimaryKeyConstraint("name", name="pk_mail_rates"),
    )
    op.create_table(
        "feedback_events",
        sa.Column("provider", BYTEWISE, nullable=False),
        sa.Column("event_id", BYTEWISE, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False, comment="when it happened, by the provider's clock"),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("outbox_id", SERIAL, nullable=True, comment="none: not about mail of ours"),
        sa.Column("address_hash", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("provider", "event_id", name="pk_feedback_events"),
    )
    op.create_index("ix_feedback_events_address_hash_at", "feedback_events", ["address_hash", "at"])
    op.drop_index("ix_outbox_held", table_name="outbox")
    # Not IN: SQLite sees in each of these that a query for one state may use the index.
    unsent = " OR ".join(f"state = '{s}'" for s in ("held", "failed", "skipped", "cancelled"))
    _partial("ix_outbox_unsent", ["state", "id"], unsent)
    _partial("ix_outbox_provider_id", ["provider_id"], "provider_id IS NOT NULL")
    op.create_index(
        "ix_suppressions_created_at_hash_reason",
        "suppressions",
        ["created_at", "hash", "reason"],
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_suppressions_created_at_hash_reason", table_name="suppressions")
    op.drop_index("ix_outbox_provider_id", table_name="outbox")
    op.drop_index("ix_outbox_unsent", table_name="outbox")
    _partial("ix_outbox_held", ["id"], "state = 'held'")
    op.drop_table("feedback_events")
    op.drop_table("mail_rates")


def _partial(name: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "outbox", columns, postgresql_where=condition, sqlite_where=condition)
