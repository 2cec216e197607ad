"""one reminder for who has not confirmed."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    """Apply."""
    off = sa.false()
    op.add_column(
        "newsletters", sa.Column("reminder", sa.Boolean(), nullable=False, server_default=off)
    )
    op.add_column("subscriptions", sa.Column("reminded_at", TIME, nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("subscriptions", "reminded_at")
    op.drop_column("newsletters", "reminder")
