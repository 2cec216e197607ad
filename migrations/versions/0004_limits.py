"""a circuit breaker on confirmation mails."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "breakers",
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("rate", sa.Text(), nullable=False, comment="that the line was made with"),
        sa.Column(
            "booked_until",
            sa.Float(),
            nullable=False,
            comment="end of the line, seconds since 1970",
        ),
        sa.Column(
            "pace", sa.Integer(), nullable=False, comment="so many times slower than the rate"
        ),
        sa.Column("opened_at", TIME, nullable=True, comment="since when it is known to be open"),
        sa.PrimaryKeyConstraint("name", name="pk_breakers"),
    )
    confirm = sa.text("kind = 'confirm'")
    op.create_index(
        "ix_outbox_confirm",
        "outbox",
        ["created_at"],
        postgresql_where=confirm,
        sqlite_where=confirm,
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_outbox_confirm", table_name="outbox")
    op.drop_table("breakers")
