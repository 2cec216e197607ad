"""what visitors and subscribers see: why they left."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("subscriptions", sa.Column("left_because", sa.Text(), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("subscriptions", "left_because")
