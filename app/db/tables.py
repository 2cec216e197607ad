"""Every table, declared once."""

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    or_,
    text,
)

from app.db.types import Bytewise, Document, Id, Serial, Time
from app.domain.consent import PERSONAL

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

newsletters = Table(
    "newsletters",
    metadata,
    Column("slug", Bytewise, primary_key=True),
    Column("name", Text, nullable=False),
    Column("from_address", Text, nullable=False),
    Column("from_name", Text),
    Column("reply_to", Text),
    Column("pitch", Text, nullable=False),
    Column("promise", Text, nullable=False),
    Column("consent_text", Text, nullable=False),
    Column("wording", Text, nullable=False),
    Column("postal_address", Text),
    Column("allowed_origins", Document, nullable=False),
    Column("thank_you_url", Text),
    Column("confirmed_url", Text),
    Column("welcome", Boolean, nullable=False),
    Column("archive", Boolean, nullable=False),
    Column("reminder", Boolean, nullable=False, server_default=false()),
    Column("locale", Text, nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("updated_at", Time, nullable=False),
)
Index(
    "uq_newsletters_default",
    newsletters.c.is_default,
    unique=True,
    postgresql_where=text("is_default"),
    sqlite_where=text("is_default"),
)

wordings = Table(
    "wordings",
    metadata,
    Column("newsletter", ForeignKey(newsletters.c.slug), primary_key=True),
    Column("hash", Text, primary_key=True),
    Column("locale", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("created_at", Time, nullable=False),
)

policies = Table(
    "policies",
    metadata,
    Column("id", Serial, Identity(), primary_key=True),
    Column("version", Bytewise, nullable=False, unique=True),
    Column("url", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("published_at", Time, nullable=False),
)

subscribers = Table(
    "subscribers",
    metadata,
    Column("id", Id, primary_key=True),
    Column("email", Text, nullable=False),
    Column("email_key", Bytewise, nullable=False, unique=True),
    Column("email_hash", Text, nullable=False, index=True),
    Column("name", Text),
    Column("locale", Text),
    Column("attributes", Document, nullable=False, server_default=text("'{}'")),
    Column("created_at", Time, nullable=False),
    Index("ix_subscribers_created_at_id", "created_at", "id"),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("subscriber_id", ForeignKey(subscribers.c.id), nullable=False),
    Column("newsletter", ForeignKey(newsletters.c.slug), nullable=False),
    Column("status", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("head_hash", Text, nullable=False),
    Column("pending_name", Text),
    Column("pending_locale", Text),
    Column("requested_at", Time),
    Column("confirmed_at", Time),
    Column("ended_at", Time),
    Column("paused_until", Time),
    Column("left_because", Text),
    Column("reminded_at", Time),
    UniqueConstraint("subscriber_id", "newsletter"),
    Index("ix_subscriptions_newsletter_status", "newsletter", "status"),
)
Index(
    "ix_subscriptions_pending",
    subscriptions.c.requested_at,
    postgresql_where=text("status = 'pending'"),
    sqlite_where=text("status = 'pending'"),
)

consent_events = Table(
    "consent_events",
    metadata,
    Column("id", Serial, Identity(), primary_key=True),
    Column("subscription_id", Id, nullable=False),
    Column("subscriber_id", Id, nullable=False, index=True),
    Column("sequence", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("at", Time, nullable=False),
    Column("newsletter", Text, nullable=False),
    Column("policy_version", Text),
    Column("wording", Text),
    Column("locale", Text),
    Column("method", Text, nullable=False),
    Column("confirms", Integer),
    Column("actor", Text),
    *(Column(name, Text) for name in PERSONAL),
    *(Column(f"{name}_salt", LargeBinary) for name in PERSONAL),
    *(Column(f"{name}_digest", Text) for name in PERSONAL),
    Column("format", Integer, nullable=False),
    Column("previous_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    UniqueConstraint("subscription_id", "sequence"),
)

mail_budgets = Table(
    "mail_budgets",
    metadata,
    Column("hash", Bytewise, primary_key=True),
    Column("newsletter", Bytewise, primary_key=True, comment="empty: all newsletters together"),
    Column("last_at", Time),
    Column("window_start", Time),
    Column("count", Integer, nullable=False),
    Column("reminded_at", Time, comment="last already_subscribed"),
    Column("refused", Integer, nullable=False),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("hash", Bytewise, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("created_at", Time, nullable=False),
    Index("ix_suppressions_created_at_hash_reason", "created_at", "hash", "reason"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Serial, Identity(), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subscriber_id", Id),
    Column("subscription_id", Id),
    Column("generation", Integer),
    Column("sequence", Integer, comment="of the consent event that a confirm link answers"),
    Column("issue_id", Id),
    Column("recipient", Text),
    Column("priority", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("due_at", Time, nullable=False),
    Column("lease_until", Time),
    Column("lease_generation", Integer, nullable=False, server_default=text("0")),
    Column("leased_by", Text),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("expirations", Integer, nullable=False, server_default=text("0")),
    Column("outcome", Text),
    Column("provider_id", Text),
    Column("created_at", Time, nullable=False),
    Column("settled_at", Time),
    sqlite_autoincrement=True,
)
Index(
    "ix_outbox_due",
    outbox.c.priority,
    outbox.c.due_at,
    outbox.c.id,
    postgresql_where=outbox.c.state == "waiting",
    sqlite_where=outbox.c.state == "waiting",
)
Index(
    "ix_outbox_leased",
    outbox.c.lease_until,
    postgresql_where=outbox.c.state == "leased",
    sqlite_where=outbox.c.state == "leased",
)
# Not IN: SQLite sees in each of these that a query for one state may use the index.
_UNSENT = or_(*(outbox.c.state == s for s in ("held", "failed", "skipped", "cancelled")))
Index(
    "ix_outbox_unsent",
    outbox.c.state,
    outbox.c.id,
    postgresql_where=_UNSENT,
    sqlite_where=_UNSENT,
)
Index(
    "ix_outbox_confirm",
    outbox.c.created_at,
    postgresql_where=outbox.c.kind == "confirm",
    sqlite_where=outbox.c.kind == "confirm",
)
Index(
    "ix_outbox_provider_id",
    outbox.c.provider_id,
    postgresql_where=text("provider_id IS NOT NULL"),
    sqlite_where=text("provider_id IS NOT NULL"),
)

transports = Table(
    "transports",
    metadata,
    Column("name", Text, primary_key=True),
    Column("paused_until", Time),
    Column("reason", Text),
    Column("since", Time),
    Column("failures", Integer, nullable=False, server_default=text("0")),
)

mail_rates = Table(
    "mail_rates",
    metadata,
    Column("name", Bytewise, primary_key=True, comment="transport and limit"),
    Column("tokens", Float, nullable=False),
    Column("refilled_at", Time, nullable=False),
    Column("booked_until", Time, nullable=False, comment="when the last one put off may go"),
)

breakers = Table(
    "breakers",
    metadata,
    Column("name", Bytewise, primary_key=True),
    Column("rate", Text, nullable=False, comment="that the line was made with"),
    Column("booked_until", Float, nullable=False, comment="end of the line, seconds since 1970"),
    Column("pace", Integer, nullable=False, comment="so many times slower than the rate"),
    Column("opened_at", Time, comment="since when it is known to be open"),
)

feedback_events = Table(
    "feedback_events",
    metadata,
    Column("provider", Bytewise, primary_key=True),
    Column("event_id", Bytewise, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("at", Time, nullable=False, comment="when it happened, by the provider's clock"),
    Column("received_at", Time, nullable=False),
    Column("outbox_id", Serial, comment="none: not about mail of ours"),
    Column("address_hash", Text),
    Column("detail", Text, nullable=False),
    Index("ix_feedback_events_address_hash_at", "address_hash", "at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Bytewise, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("scopes", Document, nullable=False),
    Column("newsletter", ForeignKey(newsletters.c.slug)),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time),
    Column("revoked_at", Time),
    Column("last_used_at", Time),
)
