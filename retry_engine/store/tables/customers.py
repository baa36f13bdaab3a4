"""What customers are told, offered, and do not want to hear."""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from retry_engine.store.tables.base import (
    APPEND_ONLY,
    case_column,
    key_column,
    metadata,
    time_column,
)

messages = Table(
    "messages",
    metadata,
    key_column(),
    case_column(),
    # the planned message that this letter was; null where it was said inside another case's
    Column("action_id", BigInteger, ForeignKey("actions.id"), unique=True),
    Column("said_in", BigInteger, ForeignKey("messages.id")),
    Column("account", Text, nullable=False, server_default=""),
    Column("customer_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("language", Text),
    Column("state", Text, nullable=False),
    time_column("at", nullable=False),
    time_column("begun_at", nullable=False),  # real time
    Column("message_id", Text, unique=True),
    Column("address_hash", Text),  # keyed: no address is kept
    Column("decision_id", BigInteger, ForeignKey("decisions.id")),
    Column("error", Text),
    time_column("visited_at"),
    Index("messages_case", "case_id", "at"),
    Index("messages_customer", "account", "customer_id", "at"),
    Index("messages_letter", "said_in", postgresql_where=text("said_in is not null")),
)

offers = Table(
    "offers",
    metadata,
    key_column(),
    Column("case_id", Text, ForeignKey("cases.id"), nullable=False, unique=True),
    Column("account", Text, nullable=False, server_default=""),
    Column("customer_id", Text, nullable=False),
    Column("decision_id", BigInteger, ForeignKey("decisions.id")),
    time_column("at", nullable=False),
    time_column("until", nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("way", Text, nullable=False, server_default="credit_note"),
    Column("state", Text, nullable=False),
    time_column("taken_at"),
    time_column("pay_until"),
    time_column("sent_at"),  # real time: Stripe keeps the key for a day from then
    Column("given_as", Text),  # the credit note or coupon at Stripe
    time_column("ended_at"),
    Column("error", Text),
    Index("offers_customer", "account", "customer_id", "at"),
    Index("offers_spent", "currency", "at"),
)

changes = Table(
    "changes",
    metadata,
    key_column(),
    Column("case_id", Text, ForeignKey("cases.id"), nullable=False),
    Column("account", Text, nullable=False, server_default=""),
    Column("customer_id", Text, nullable=False),
    Column("subscription_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    time_column("at", nullable=False),
    time_column(
        "until", nullable=False
    ),  # the first renewal on the new day, or the end of the pause
    Column("amount", BigInteger, nullable=False),  # what the days between are worth
    Column("currency", Text, nullable=False),
    Column("state", Text, nullable=False),
    time_column("sent_at", nullable=False),  # real time
    Column("error", Text),
    UniqueConstraint("case_id", "kind"),
    Index("changes_customer", "account", "customer_id", "at"),
    Index("changes_spent", "currency", "at"),
)

renewals = Table(
    "renewals",
    metadata,
    key_column(),
    Column("account", Text, nullable=False, server_default=""),
    Column("customer_id", Text, nullable=False),
    Column("subscription_id", Text, nullable=False),
    Column("test_clock", Text),
    time_column("renews_at", nullable=False),
    Column("method_id", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default="card_expiring"),
    Column("chance", Float),  # of the coming charge, where a model was asked
    Column("model_version", Text),
    Column("reason", Text),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    time_column("due_at", nullable=False),
    Column("state", Text, nullable=False, server_default="planned"),
    time_column("claimed_until"),
    Column("tries", Integer, nullable=False, server_default="0"),
    time_column("at"),
    Column("message_id", Text, unique=True),
    Column("address_hash", Text),
    Column("language", Text),
    Column("result", Text),
    UniqueConstraint("account", "subscription_id", "renews_at"),
    Index("renewals_due", "due_at", postgresql_where=text("state in ('planned', 'sending')")),
    Index("renewals_customer", "account", "customer_id"),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("account", Text, primary_key=True, server_default=""),
    Column("address_hash", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    time_column("at", nullable=False),
)

# Whose word it was that an address is not written to, or may be again.
suppression_acts = Table(
    "suppression_acts",
    metadata,
    key_column(),
    Column("account", Text, nullable=False, server_default=""),
    Column("address_hash", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("reason", Text),
    Column("by", Text, nullable=False),
    Column("note", Text),
    time_column("at", nullable=False),
    Index("suppression_acts_address", "account", "address_hash", "id"),
    info=APPEND_ONLY,
)
