"""The tables as the code sees them; `migrations/` makes them, a test holds the two together.

Times of a case (`at`, `due_at`, `opened_at`, …) are on the case's own clock: Stripe's test clock
where its customer has one, else real time. Times that guard our own processes and Stripe's
idempotency keys (`received_at`, `claimed_until`, `sent_at`, …) are always real time.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
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
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()
# What was recorded there is not rewritten or taken out: a trigger of the database refuses it.
APPEND_ONLY: dict[Any, Any] = {"append_only": True}


def _time(name: str, *, nullable: bool = True, now: bool = False) -> Column[object]:
    default = text("now()") if now else None
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=default)


def _key() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def _case() -> Column[str]:
    return Column("case_id", Text, ForeignKey("cases.id"), nullable=False)


inbox = Table(
    "inbox",
    metadata,
    Column("id", Text, primary_key=True),  # account ':' event id
    Column("event_id", Text, nullable=False),
    Column("account", Text, nullable=False, server_default=""),
    Column("type", Text, nullable=False),
    Column("object_id", Text),
    Column("api_version", Text),
    Column("livemode", Boolean),
    Column("payload", JSONB, nullable=False),
    _time("received_at", nullable=False, now=True),
    Column("state", Text, nullable=False, server_default="pending"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),  # of the tries
    _time("next_try_at", nullable=False, now=True),
    _time("claimed_until"),
    Column("last_error", Text),
    _time("processed_at"),
    _time("stripped_at"),  # of what was dead for long: only Stripe's ids are left
    Index("inbox_pending", "account", "next_try_at", postgresql_where=text("state = 'pending'")),
    Index("inbox_dead", "received_at", postgresql_where=text("state = 'dead'")),
    Index("inbox_aside", "received_at", postgresql_where=text("state = 'aside'")),
    Index("inbox_done", "processed_at", postgresql_where=text("state in ('done', 'aside')")),
    Index(
        "inbox_dead_whole",
        "received_at",
        postgresql_where=text("state = 'dead' and stripped_at is null"),
    ),
    Index("inbox_object", "object_id"),
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
    _time("opened_at", nullable=False),
    _time("deadline_at", nullable=False),
    _time("closed_at"),
    Column("close_reason", Text),
    Column("billing_reason", Text),
    Column("billing_interval", Text),
    _time("invoice_created_at"),
    Column("customer_country", Text),
    Column("customer_timezone", Text),
    _time("customer_since"),
    _time("stripe_next_attempt_at"),
    Column("taken_over", Boolean, nullable=False, server_default="false"),
    Column("default_method_id", Text),
    Column("enriched", Boolean, nullable=False, server_default="false"),
    Column("pause_cause", Text),
    Column("attempt_sequence", Integer, nullable=False, server_default="0"),
    _time("charges_read_at"),  # the customer's charges up to then are recorded
    Column("auto_advance_found", Boolean),  # null: taken over before this was noted
    UniqueConstraint("account", "invoice_id", name="cases_invoice"),
    Index("cases_customer", "account", "customer_id"),
    Index("cases_subscription", "account", "subscription_id"),
    Index("cases_payment_intent", "payment_intent_id"),
    Index("cases_opened", "opened_at", "id"),
    Index("cases_living", "state", postgresql_where=text("state <> 'closed'")),
)

case_transitions = Table(
    "case_transitions",
    metadata,
    _key(),
    _case(),
    _time("at", nullable=False),
    _time("recorded_at", nullable=False, now=True),
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
    _key(),
    Column("account", Text, nullable=False, server_default=""),
    Column("customer_id", Text),
    Column("case_id", Text, ForeignKey("cases.id")),  # null: on an invoice that has no case
    Column("sequence", Integer),  # of the case's own intents; part of the idempotency key
    _time("at", nullable=False),
    _time("sent_at"),  # real time of the first send; the key's lifetime counts from here
    _time("last_sent_at"),  # real time of the newest request; null: none was begun
    _time("sending_until"),  # by the database's clock: until then it may be on its way
    _time("resolved_at"),
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
    _time("added_at"),
    _time("changed_at"),
    _time("authenticated_at"),
    Column("mandate_active", Boolean),
    Column("blocked_reason", Text),
    _time("detached_at"),
    Index("payment_methods_customer", "account", "customer_id"),
    Index("payment_methods_card", "account", "card_fingerprint"),
)

actions = Table(
    "actions",
    metadata,
    _key(),
    _case(),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="planned"),
    _time("due_at", nullable=False),
    Column("account", Text, nullable=False, server_default=""),
    Column("test_clock", Text),
    _time("claimed_until"),
    Column("claims", Integer, nullable=False, server_default="0"),  # also in vain: nobody came
    Column("failures", Integer, nullable=False, server_default="0"),  # somebody came, and failed
    Column("waits", Integer, nullable=False, server_default="0"),  # the outside world was away
    Column("held", Boolean, nullable=False, server_default="false"),  # claimed, in nobody's hands
    Column("payment_method_id", Text),
    Column("decision_id", BigInteger, ForeignKey("decisions.id")),
    Column("requested_by", Text),
    _time("created_at", nullable=False, now=True),
    _time("finished_at"),
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
    _key(),
    _case(),
    _time("at", nullable=False),
    _time("recorded_at", nullable=False, now=True),
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
    _time("message_at"),
    Column("message_kind", Text),
    Column("discount", BigInteger, nullable=False, server_default="0"),
    Column("offer_propensity", Float),
    Index("decisions_case", "case_id", "id"),
)

overrides = Table(
    "overrides",
    metadata,
    _key(),
    _case(),
    _time("at", nullable=False),
    _time("recorded_at", nullable=False, now=True),
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
    _case(),
    Column("reason", Text, nullable=False),
    # each {"text", "about"}: what a verdict clears is what is named here
    Column("reasons", JSONB, nullable=False, server_default=text("'[]'")),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    _time("opened_at", nullable=False),
    _time("deadline_at", nullable=False),
    Column("proposal", JSONB),
    Column("state", Text, nullable=False, server_default="open"),
    _time("decided_at"),
    Column("decided_by", Text),
    Column("verdict_reason", Text),
    Index("reviews_one_open", "case_id", unique=True, postgresql_where=text("state = 'open'")),
    Index("reviews_listing", "state", "opened_at", "id"),
)

# What people did to the engine itself; acts on a case are its `overrides`.
acts = Table(
    "acts",
    metadata,
    _key(),
    _time("at", nullable=False),
    _time("recorded_at", nullable=False, now=True),
    Column("by", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("before", JSONB, nullable=False),
    Column("after", JSONB, nullable=False),
    Index("acts_subject", "subject", "id"),
    info=APPEND_ONLY,
)

risk_flags = Table(
    "risk_flags",
    metadata,
    Column("account", Text, primary_key=True, server_default=""),
    Column("object_id", Text, primary_key=True),  # the dispute or early fraud warning, or charge
    Column("kind", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("charge_id", Text),
    _time("at", nullable=False),
    _time("cleared_at"),
    Index("risk_flags_customer", "account", "customer_id"),
)

policies = Table(
    "policies",
    metadata,
    Column("version", Text, primary_key=True),
    Column("content", JSONB, nullable=False),
    _time("first_used_at", nullable=False, now=True),
)

clocks = Table(
    "clocks",
    metadata,
    Column("account", Text, primary_key=True, server_default=""),
    Column("id", Text, primary_key=True),
    _time("frozen_time", nullable=False),
    Column("status", Text, nullable=False),
    _time("read_at", nullable=False),
)

engine_state = Table(
    "engine_state",
    metadata,
    Column("id", Boolean, primary_key=True, server_default="true"),
    Column("paused", Boolean, nullable=False, server_default="false"),
    Column("reason", Text),
    Column("by", Text),
    _time("at"),
    Column(
        "link_key",
        LargeBinary,
        nullable=False,
        server_default=text("uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())"),
    ),
    Column(
        "address_key",
        LargeBinary,
        nullable=False,
        server_default=text("uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())"),
    ),
)

messages = Table(
    "messages",
    metadata,
    _key(),
    _case(),
    # the planned message that this letter was; null where it was said inside another case's
    Column("action_id", BigInteger, ForeignKey("actions.id"), unique=True),
    Column("said_in", BigInteger, ForeignKey("messages.id")),
    Column("account", Text, nullable=False, server_default=""),
    Column("customer_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("language", Text),
    Column("state", Text, nullable=False),
    _time("at", nullable=False),
    _time("begun_at", nullable=False),  # real time
    Column("message_id", Text, unique=True),
    Column("address_hash", Text),  # keyed: no address is kept
    Column("decision_id", BigInteger, ForeignKey("decisions.id")),
    Column("error", Text),
    _time("visited_at"),
    Index("messages_case", "case_id", "at"),
    Index("messages_customer", "account", "customer_id", "at"),
    Index("messages_letter", "said_in", postgresql_where=text("said_in is not null")),
)

offers = Table(
    "offers",
    metadata,
    _key(),
    Column("case_id", Text, ForeignKey("cases.id"), nullable=False, unique=True),
    Column("account", Text, nullable=False, server_default=""),
    Column("customer_id", Text, nullable=False),
    Column("decision_id", BigInteger, ForeignKey("decisions.id")),
    _time("at", nullable=False),
    _time("until", nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("way", Text, nullable=False, server_default="credit_note"),
    Column("state", Text, nullable=False),
    _time("taken_at"),
    _time("pay_until"),
    _time("sent_at"),  # real time: Stripe keeps the key for a day from then
    Column("given_as", Text),  # the credit note or coupon at Stripe
    _time("ended_at"),
    Column("error", Text),
    Index("offers_customer", "account", "customer_id", "at"),
    Index("offers_spent", "currency", "at"),
)

changes = Table(
    "changes",
    metadata,
    _key(),
    Column("case_id", Text, ForeignKey("cases.id"), nullable=False),
    Column("account", Text, nullable=False, server_default=""),
    Column("customer_id", Text, nullable=False),
    Column("subscription_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    _time("at", nullable=False),
    _time("until", nullable=False),  # the first renewal on the new day, or the end of the pause
    Column("amount", BigInteger, nullable=False),  # what the days between are worth
    Column("currency", Text, nullable=False),
    Column("state", Text, nullable=False),
    _time("sent_at", nullable=False),  # real time
    Column("error", Text),
    UniqueConstraint("case_id", "kind"),
    Index("changes_customer", "account", "customer_id", "at"),
    Index("changes_spent", "currency", "at"),
)

renewals = Table(
    "renewals",
    metadata,
    _key(),
    Column("account", Text, nullable=False, server_default=""),
    Column("customer_id", Text, nullable=False),
    Column("subscription_id", Text, nullable=False),
    Column("test_clock", Text),
    _time("renews_at", nullable=False),
    Column("method_id", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default="card_expiring"),
    Column("chance", Float),  # of the coming charge, where a model was asked
    Column("model_version", Text),
    Column("reason", Text),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    _time("due_at", nullable=False),
    Column("state", Text, nullable=False, server_default="planned"),
    _time("claimed_until"),
    Column("tries", Integer, nullable=False, server_default="0"),
    _time("at"),
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
    _time("at", nullable=False),
)

# Whose word it was that an address is not written to, or may be again.
suppression_acts = Table(
    "suppression_acts",
    metadata,
    _key(),
    Column("account", Text, nullable=False, server_default=""),
    Column("address_hash", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("reason", Text),
    Column("by", Text, nullable=False),
    Column("note", Text),
    _time("at", nullable=False),
    Index("suppression_acts_address", "account", "address_hash", "id"),
    info=APPEND_ONLY,
)

attempt_log = Table(
    "attempt_log",
    metadata,
    Column("row_hash", Text, primary_key=True),  # importing a file twice changes nothing
    Column("account", Text, nullable=False, server_default=""),
    Column("customer_id", Text, nullable=False),
    _time("at", nullable=False),
    Column("content", JSONB, nullable=False),
    Index("attempt_log_customer", "account", "customer_id", "at"),
)

backfills = Table(
    "backfills",
    metadata,
    Column("account", Text, primary_key=True, server_default=""),
    Column("since", DateTime(timezone=True), primary_key=True),
    Column("cursor", Text),  # the last charge read; null: nothing yet
    _time("reached"),  # how far back that is
    Column("charges", BigInteger, nullable=False, server_default="0"),
    Column("invoices", BigInteger, nullable=False, server_default="0"),
    Column("new", BigInteger, nullable=False, server_default="0"),
    Column("changed", BigInteger, nullable=False, server_default="0"),
    _time("started_at", nullable=False),
    _time("finished_at"),
)

models = Table(
    "models",
    metadata,
    Column("version", Text, primary_key=True),
    _time("trained_at", nullable=False),
    Column("state", Text, nullable=False, server_default="stored"),
    _time("promoted_at"),
    Column("sha256", Text, nullable=False),
    Column("card", JSONB, nullable=False),
    Column("file", LargeBinary, nullable=False),
    Column("plot", LargeBinary),  # the card's calibration plot, a PNG
    Column("reference", JSONB),  # what drift is measured against
    Index("models_one_active", "state", unique=True, postgresql_where=text("state = 'active'")),
)

# Accounts that do not answer: while a breaker is open they are asked once in a while only.
breakers = Table(
    "breakers",
    metadata,
    Column("account", Text, primary_key=True, server_default=""),
    Column("cause", Text, primary_key=True),
    Column("failures", Integer, nullable=False),  # without an answer in between
    _time("since", nullable=False),
    _time("next_probe_at"),  # null: not open
    _time("given_up_at"),
    Column("error", Text, nullable=False),
)

# Unlogged: a crash may empty it, and Stripe's limits are then simply counted from anew.
rate_limits = Table(
    "rate_limits",
    metadata,
    Column("endpoint", Text, primary_key=True),
    _time("next_free", nullable=False),
    prefixes=["UNLOGGED"],
)
