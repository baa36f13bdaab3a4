"""Cases and what happened to them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from retry_engine.store.tables.base import (
    APPEND_ONLY,
    case_column,
    key_column,
    metadata,
    time_column,
)

cases = Table(
    "cases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account", Text, nullable=False, server_default=""),
    Column("invoice_id", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("subscription_id", Text),
    Column("payment_intent_id", Text),
    Column("state", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("policy_version", Text, ForeignKey("policies.version"), nullable=False),
    Column("amount_remaining", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("test_clock", Text),
    time_column("opened_at", nullable=False),
    time_column("deadline_at", nullable=False),
    time_column("closed_at"),
    Column("close_reason", Text),
    Column("billing_reason", Text),
    Column("billing_interval", Text),
    time_column("invoice_created_at"),
    Column("customer_country", Text),
    Column("customer_timezone", Text),
    time_column("customer_since"),
    time_column("stripe_next_attempt_at"),
    Column("taken_over", Boolean, nullable=False, server_default="false"),
    Column("default_method_id", Text),
    Column("enriched", Boolean, nullable=False, server_default="false"),
    Column("pause_cause", Text),
    Column("attempt_sequence", Integer, nullable=False, server_default="0"),
    time_column("charges_read_at"),  # the customer's charges up to then are recorded
    Column("auto_advance_found", Boolean),  # null: taken over before this was noted
    Column("amount_at_open", BigInteger, nullable=False, server_default="0"),
    Column("amount_recovered", BigInteger, nullable=False, server_default="0"),
    # a part that had been paid before the case opened is not recovered by it
    Column("amount_paid_at_open", BigInteger, nullable=False, server_default="0"),
    time_column("paid_late_at"),  # the invoice was paid after the case had ended otherwise
    UniqueConstraint("account", "invoice_id", name="cases_invoice"),
    Index("cases_customer", "customer_id", "account"),  # asked for without an account too
    Index("cases_subscription", "account", "subscription_id"),
    Index("cases_payment_intent", "payment_intent_id"),
    Index("cases_opened", "opened_at", "id"),
    Index("cases_living", "state", postgresql_where=text("state <> 'closed'")),
)

case_transitions = Table(
    "case_transitions",
    metadata,
    key_column(),
    case_column(),
    time_column("at", nullable=False),
    time_column("recorded_at", nullable=False, now=True),
    Column("name", Text, nullable=False),
    Column("from_state", Text),
    Column("to_state", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("by", Text),
    Index("case_transitions_case", "case_id", "id"),
    info=APPEND_ONLY,
)

attempts = Table(
    "attempts",
    metadata,
    key_column(),
    Column("account", Text, nullable=False, server_default=""),
    Column("customer_id", Text),
    Column("case_id", Text, ForeignKey("cases.id")),  # null: on an invoice that has no case
    Column("sequence", Integer),  # of the case's own intents; part of the idempotency key
    time_column("at", nullable=False),
    time_column("sent_at"),  # real time of the first send; the key's lifetime counts from here
    time_column("last_sent_at"),  # real time of the newest request; null: none was begun
    time_column("sending_until"),  # by the database's clock: until then it may be on its way
    time_column("resolved_at"),
    Column("source", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    # true: proven never to have reached Stripe; it counts nowhere and stays for the record
    Column("abandoned", Boolean, nullable=False, server_default="false"),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("payment_method_id", Text),
    Column("method_type", Text, nullable=False, server_default="card"),
    Column("card_brand", Text),
    Column("card_country", Text),
    Column("card_fingerprint", Text),
    Column("decline_code", Text),
    Column("advice_code", Text),
    Column("network_advice_code", Text),
    Column("network_decline_code", Text),
    Column("outcome_type", Text),
    Column("outcome_reason", Text),
    Column("risk_level", Text),
    Column("charge_id", Text),
    Column("payment_intent_id", Text),
    Column("idempotency_key", Text, unique=True),
    Column("action_id", BigInteger),
    Column("error", Text),
    Column("card_exp_year", Integer),  # as it was then
    Column("card_exp_month", Integer),
    UniqueConstraint("account", "charge_id", name="attempts_charge"),
    Index("attempts_case", "case_id", "at"),
    Index("attempts_customer", "account", "customer_id", "at"),
    Index("attempts_card", "card_fingerprint", "at"),
    Index("attempts_method", "payment_method_id", "at"),
    Index("attempts_payment_intent", "payment_intent_id"),
    Index(
        "attempts_one_in_flight",
        "case_id",
        unique=True,
        postgresql_where=text("source = 'engine' and outcome = 'unknown' and not abandoned"),
    ),
)

payment_methods = Table(
    "payment_methods",
    metadata,
    Column("account", Text, primary_key=True, server_default=""),
    Column("id", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("card_brand", Text),
    Column("card_funding", Text),
    Column("card_country", Text),
    Column("card_exp_year", Integer),
    Column("card_exp_month", Integer),
    Column("card_fingerprint", Text),
    time_column("added_at"),
    time_column("changed_at"),
    time_column("authenticated_at"),
    Column("mandate_active", Boolean),
    Column("blocked_reason", Text),
    time_column("detached_at"),
    Index("payment_methods_customer", "account", "customer_id"),
    Index("payment_methods_card", "account", "card_fingerprint"),
)

actions = Table(
    "actions",
    metadata,
    key_column(),
    case_column(),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="planned"),
    time_column("due_at", nullable=False),
    Column("account", Text, nullable=False, server_default=""),
    Column("test_clock", Text),
    time_column("claimed_until"),
    Column("claims", Integer, nullable=False, server_default="0"),  # also in vain: nobody came
    Column("failures", Integer, nullable=False, server_default="0"),  # somebody came, and failed
    Column("waits", Integer, nullable=False, server_default="0"),  # the outside world was away
    Column("held", Boolean, nullable=False, server_default="false"),  # claimed, in nobody's hands
    Column("payment_method_id", Text),
    Column("decision_id", BigInteger, ForeignKey("decisions.id")),
    Column("requested_by", Text),
    time_column("created_at", nullable=False, now=True),
    time_column("finished_at"),
    Column("result", Text),
    Index(
        "actions_due_real",
        "due_at",
        postgresql_where=text("state = 'planned' and test_clock is null"),
    ),
    Index(
        "actions_due_account",
        "account",
        "due_at",
        postgresql_where=text("state = 'planned' and test_clock is null"),
    ),
    Index(
        "actions_due_clock",
        "account",
        "test_clock",
        "due_at",
        postgresql_where=text("state = 'planned' and test_clock is not null"),
    ),
    Index("actions_claimed", "claimed_until", postgresql_where=text("state = 'claimed'")),
    Index("actions_claimed_case", "case_id", postgresql_where=text("state = 'claimed'")),
    Index("actions_case", "case_id", "id"),
    Index(
        "actions_one_of_a_kind",
        "case_id",
        "kind",
        unique=True,
        postgresql_where=text("state = 'planned'"),
    ),
    Index(
        "actions_one_retry",
        "case_id",
        unique=True,
        postgresql_where=text("kind = 'retry' and state in ('planned', 'claimed')"),
    ),
)

decisions = Table(
    "decisions",
    metadata,
    key_column(),
    case_column(),
    time_column("at", nullable=False),
    time_column("recorded_at", nullable=False, now=True),
    Column("kind", Text, nullable=False),
    Column("retry_at", DateTime(timezone=True)),
    Column("payment_method_id", Text),
    Column("success_probability", Float),
    Column("expected_value", BigInteger, nullable=False),
    Column("propensity", Float, nullable=False),
    Column("policy_version", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("inputs", JSONB, nullable=False),
    Column("inputs_hash", Text, nullable=False),
    Column("candidates", JSONB, nullable=False),
    Column("reasons", JSONB, nullable=False),
    Column("carried_out", Boolean, nullable=False, server_default="false"),
    time_column("message_at"),
    Column("message_kind", Text),
    Column("discount", BigInteger, nullable=False, server_default="0"),
    Column("offer_propensity", Float),
    Index("decisions_case", "case_id", "id"),
)

overrides = Table(
    "overrides",
    metadata,
    key_column(),
    case_column(),
    time_column("at", nullable=False),
    time_column("recorded_at", nullable=False, now=True),
    Column("by", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("before", JSONB, nullable=False),
    Column("after", JSONB, nullable=False),
    Index("overrides_case", "case_id", "id"),
    info=APPEND_ONLY,
)

reviews = Table(
    "reviews",
    metadata,
    Column("id", Text, primary_key=True),
    case_column(),
    Column("reason", Text, nullable=False),
    # each {"text", "about"}: what a verdict clears is what is named here
    Column("reasons", JSONB, nullable=False, server_default=text("'[]'")),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    time_column("opened_at", nullable=False),
    time_column("deadline_at", nullable=False),
    Column("proposal", JSONB),
    Column("state", Text, nullable=False, server_default="open"),
    time_column("decided_at"),
    Column("decided_by", Text),
    Column("verdict_reason", Text),
    Index("reviews_one_open", "case_id", unique=True, postgresql_where=text("state = 'open'")),
    Index("reviews_listing", "state", "opened_at", "id"),
)

risk_flags = Table(
    "risk_flags",
    metadata,
    Column("account", Text, primary_key=True, server_default=""),
    Column("object_id", Text, primary_key=True),  # the dispute or early fraud warning, or charge
    Column("kind", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("charge_id", Text),
    time_column("at", nullable=False),
    time_column("cleared_at"),
    Index("risk_flags_customer", "account", "customer_id"),
)
