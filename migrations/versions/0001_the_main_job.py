"""the main job."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")
ID = sa.Uuid().with_variant(sa.String(36), "sqlite")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")

PERSONAL = [
    name + suffix
    for name in ("address", "page_url", "ip", "user_agent", "evidence")
    for suffix in ("", "_salt")
]
FIXED = [
    "id",
    "subscription_id",
    "subscriber_id",
    "sequence",
    "generation",
    "kind",
    "at",
    "newsletter",
    "policy_version",
    "wording",
    "locale",
    "method",
    "confirms",
    "actor",
    "address_digest",
    "page_url_digest",
    "ip_digest",
    "user_agent_digest",
    "evidence_digest",
    "format",
    "previous_hash",
    "hash",
]
REFUSAL = "consent_events is append-only"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "consent_events",
        sa.Column("id", SERIAL, sa.Identity(always=False), nullable=False),
        sa.Column("subscription_id", ID, nullable=False),
        sa.Column("subscriber_id", ID, nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("newsletter", sa.Text(), nullable=False),
        sa.Column("policy_version", sa.Text(), nullable=True),
        sa.Column("wording", sa.Text(), nullable=True),
        sa.Column("locale", sa.Text(), nullable=True),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("confirms", sa.Integer(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("page_url", sa.Text(), nullable=True),
        sa.Column("ip", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.Column("address_salt", sa.LargeBinary(), nullable=True),
        sa.Column("page_url_salt", sa.LargeBinary(), nullable=True),
        sa.Column("ip_salt", sa.LargeBinary(), nullable=True),
        sa.Column("user_agent_salt", sa.LargeBinary(), nullable=True),
        sa.Column("evidence_salt", sa.LargeBinary(), nullable=True),
        sa.Column("address_digest", sa.Text(), nullable=True),
        sa.Column("page_url_digest", sa.Text(), nullable=True),
        sa.Column("ip_digest", sa.Text(), nullable=True),
        sa.Column("user_agent_digest", sa.Text(), nullable=True),
        sa.Column("evidence_digest", sa.Text(), nullable=True),
        sa.Column("format", sa.Integer(), nullable=False),
        sa.Column("previous_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_consent_events"),
        sa.UniqueConstraint(
            "subscription_id", "sequence", name="uq_consent_events_subscription_id_sequence"
        ),
    )
    op.create_index(
        "ix_consent_events_subscriber_id", "consent_events", ["subscriber_id"], unique=False
    )
    op.create_table(
        "mail_budgets",
        sa.Column("hash", BYTEWISE, nullable=False),
        sa.Column(
            "newsletter", BYTEWISE, nullable=False, comment="empty: all newsletters together"
        ),
        sa.Column("last_at", TIME, nullable=True),
        sa.Column("window_start", TIME, nullable=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("reminded_at", TIME, nullable=True, comment="last already_subscribed"),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("hash", "newsletter", name="pk_mail_budgets"),
    )
    op.create_table(
        "newsletters",
        sa.Column("slug", BYTEWISE, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("from_address", sa.Text(), nullable=False),
        sa.Column("from_name", sa.Text(), nullable=True),
        sa.Column("reply_to", sa.Text(), nullable=True),
        sa.Column("pitch", sa.Text(), nullable=False),
        sa.Column("promise", sa.Text(), nullable=False),
        sa.Column("consent_text", sa.Text(), nullable=False),
        sa.Column("wording", sa.Text(), nullable=False),
        sa.Column("postal_address", sa.Text(), nullable=True),
        sa.Column("allowed_origins", DOCUMENT, nullable=False),
        sa.Column("thank_you_url", sa.Text(), nullable=True),
        sa.Column("confirmed_url", sa.Text(), nullable=True),
        sa.Column("welcome", sa.Boolean(), nullable=False),
        sa.Column("archive", sa.Boolean(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("slug", name="pk_newsletters"),
    )
    op.create_index(
        "uq_newsletters_default",
        "newsletters",
        ["is_default"],
        unique=True,
        postgresql_where=sa.text("is_default"),
        sqlite_where=sa.text("is_default"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", SERIAL, sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subscriber_id", ID, nullable=True),
        sa.Column("subscription_id", ID, nullable=True),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column(
            "sequence",
            sa.Integer(),
            nullable=True,
            comment="of the consent event that a confirm link answers",
        ),
        sa.Column("issue_id", ID, nullable=True),
        sa.Column("recipient", sa.Text(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("lease_until", TIME, nullable=True),
        sa.Column("lease_generation", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("leased_by", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("expirations", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("settled_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_outbox_due",
        "outbox",
        ["priority", "due_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
        sqlite_where=sa.text("state = 'waiting'"),
    )
    op.create_index(
        "ix_outbox_leased",
        "outbox",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("state = 'leased'"),
        sqlite_where=sa.text("state = 'leased'"),
    )
    op.create_table(
        "policies",
        sa.Column("id", SERIAL, sa.Identity(always=False), nullable=False),
        sa.Column("version", BYTEWISE, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("published_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_policies"),
        sa.UniqueConstraint("version", name="uq_policies_version"),
    )
    op.create_table(
        "subscribers",
        sa.Column("id", ID, nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_key", BYTEWISE, nullable=False),
        sa.Column("email_hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("locale", sa.Text(), nullable=True),
        sa.Column("attributes", DOCUMENT, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_subscribers"),
        sa.UniqueConstraint("email_key", name="uq_subscribers_email_key"),
    )
    op.create_index(
        "ix_subscribers_created_at_id", "subscribers", ["created_at", "id"], unique=False
    )
    op.create_index("ix_subscribers_email_hash", "subscribers", ["email_hash"], unique=False)
    op.create_table(
        "suppressions",
        sa.Column("hash", BYTEWISE, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("hash", "reason", name="pk_suppressions"),
    )
    op.create_table(
        "transports",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("paused_until", TIME, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("since", TIME, nullable=True),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_transports"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", BYTEWISE, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("scopes", DOCUMENT, nullable=False),
        sa.Column("newsletter", BYTEWISE, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=True),
        sa.Column("revoked_at", TIME, nullable=True),
        sa.Column("last_used_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["newsletter"], ["newsletters.slug"], name="fk_api_keys_newsletter_newsletters"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_table(
        "subscriptions",
        sa.Column("id", ID, nullable=False),
        sa.Column("subscriber_id", ID, nullable=False),
        sa.Column("newsletter", BYTEWISE, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("head_hash", sa.Text(), nullable=False),
        sa.Column("pending_name", sa.Text(), nullable=True),
        sa.Column("pending_locale", sa.Text(), nullable=True),
        sa.Column("requested_at", TIME, nullable=True),
        sa.Column("confirmed_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("paused_until", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["newsletter"], ["newsletters.slug"], name="fk_subscriptions_newsletter_newsletters"
        ),
        sa.ForeignKeyConstraint(
            ["subscriber_id"], ["subscribers.id"], name="fk_subscriptions_subscriber_id_subscribers"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_subscriptions"),
        sa.UniqueConstraint(
            "subscriber_id", "newsletter", name="uq_subscriptions_subscriber_id_newsletter"
        ),
    )
    op.create_index(
        "ix_subscriptions_newsletter_status",
        "subscriptions",
        ["newsletter", "status"],
        unique=False,
    )
    op.create_table(
        "wordings",
        sa.Column("newsletter", BYTEWISE, nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["newsletter"], ["newsletters.slug"], name="fk_wordings_newsletter_newsletters"
        ),
        sa.PrimaryKeyConstraint("newsletter", "hash", name="pk_wordings"),
    )

    op.create_index(
        "ix_outbox_held",
        "outbox",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'held'"),
        sqlite_where=sa.text("state = 'held'"),
    )
    op.create_index(
        "ix_subscriptions_pending",
        "subscriptions",
        ["requested_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
        sqlite_where=sa.text("status = 'pending'"),
    )
    if op.get_bind().dialect.name == "postgresql":
        guard_postgresql()
    else:
        guard_sqlite()


def downgrade() -> None:
    """Take back."""
    op.drop_table("wordings")
    op.drop_index("ix_subscriptions_newsletter_status", table_name="subscriptions")
    op.drop_table("subscriptions")
    op.drop_table("api_keys")
    op.drop_table("transports")
    op.drop_table("suppressions")
    op.drop_index("ix_subscribers_email_hash", table_name="subscribers")
    op.drop_index("ix_subscribers_created_at_id", table_name="subscribers")
    op.drop_table("subscribers")
    op.drop_table("policies")
    op.drop_index(
        "ix_outbox_leased",
        table_name="outbox",
        postgresql_where=sa.text("state = 'leased'"),
        sqlite_where=sa.text("state = 'leased'"),
    )
    op.drop_index(
        "ix_outbox_due",
        table_name="outbox",
        postgresql_where=sa.text("state = 'waiting'"),
        sqlite_where=sa.text("state = 'waiting'"),
    )
    op.drop_table("outbox")
    op.drop_index(
        "uq_newsletters_default",
        table_name="newsletters",
        postgresql_where=sa.text("is_default"),
        sqlite_where=sa.text("is_default"),
    )
    op.drop_table("newsletters")
    op.drop_table("mail_budgets")
    op.drop_index("ix_consent_events_subscriber_id", table_name="consent_events")
    op.drop_table("consent_events")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION consent_events_guard")


def changes_more(differ: str) -> str:
    """Return the condition that an UPDATE changes more than personal values to NULL."""
    fixed = [f"NEW.{name} {differ} OLD.{name}" for name in FIXED]
    personal = [f"(NEW.{p} IS NOT NULL AND NEW.{p} {differ} OLD.{p})" for p in PERSONAL]
    return " OR ".join(fixed + personal)


def guard_postgresql() -> None:
    """Refuse DELETE, TRUNCATE and every UPDATE but redaction; UNIQUE refuses a second INSERT."""
    op.execute(
        f"""
        CREATE FUNCTION consent_events_guard() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' AND NOT ({changes_more("IS DISTINCT FROM")}) THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'integrity_constraint_violation';
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER consent_events_append_only BEFORE UPDATE OR DELETE ON consent_events "
        "FOR EACH ROW EXECUTE FUNCTION consent_events_guard()"
    )
    op.execute(
        "CREATE TRIGGER consent_events_no_truncate BEFORE TRUNCATE ON consent_events "
        "FOR EACH STATEMENT EXECUTE FUNCTION consent_events_guard()"
    )


def guard_sqlite() -> None:
    """Refuse the same; INSERT OR REPLACE fires no other trigger than that of INSERT."""
    refuse = f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
    op.execute("CREATE TRIGGER consent_events_no_delete BEFORE DELETE ON consent_events " + refuse)
    op.execute(
        "CREATE TRIGGER consent_events_append_only BEFORE UPDATE ON consent_events "
        f"WHEN {changes_more('IS NOT')} {refuse}"
    )
    op.execute(
        "CREATE TRIGGER consent_events_no_replace BEFORE INSERT ON consent_events "
        "WHEN EXISTS (SELECT 1 FROM consent_events WHERE id = NEW.id OR "
        f"(subscription_id = NEW.subscription_id AND sequence = NEW.sequence)) {refuse}"
    )
