"""Events as they came, and the engine itself."""

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from retry_engine.store.tables.base import APPEND_ONLY, key_column, metadata, time_column

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
    time_column("received_at", nullable=False, now=True),
    Column("state", Text, nullable=False, server_default="pending"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),  # of the tries
    time_column("next_try_at", nullable=False, now=True),
    time_column("claimed_until"),
    Column("last_error", Text),
    time_column("processed_at"),
    time_column("stripped_at"),  # of what was dead for long: only Stripe's ids are left
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

# What people did to the engine itself; acts on a case are its `overrides`.
acts = Table(
    "acts",
    metadata,
    key_column(),
    time_column("at", nullable=False),
    time_column("recorded_at", nullable=False, now=True),
    Column("by", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("before", JSONB, nullable=False),
    Column("after", JSONB, nullable=False),
    Index("acts_subject", "subject", "id"),
    info=APPEND_ONLY,
)

policies = Table(
    "policies",
    metadata,
    Column("version", Text, primary_key=True),
    Column("content", JSONB, nullable=False),
    time_column("first_used_at", nullable=False, now=True),
)

clocks = Table(
    "clocks",
    metadata,
    Column("account", Text, primary_key=True, server_default=""),
    Column("id", Text, primary_key=True),
    time_column("frozen_time", nullable=False),
    Column("status", Text, nullable=False),
    time_column("read_at", nullable=False),
)

engine_state = Table(
    "engine_state",
    metadata,
    Column("id", Boolean, primary_key=True, server_default="true"),
    Column("paused", Boolean, nullable=False, server_default="false"),
    Column("reason", Text),
    Column("by", Text),
    time_column("at"),
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

# Accounts that do not answer: while a breaker is open they are asked once in a while only.
breakers = Table(
    "breakers",
    metadata,
    Column("account", Text, primary_key=True, server_default=""),
    Column("cause", Text, primary_key=True),
    Column("failures", Integer, nullable=False),  # without an answer in between
    time_column("since", nullable=False),
    time_column("next_probe_at"),  # null: not open
    time_column("given_up_at"),
    Column("error", Text, nullable=False),
)

# Unlogged: a crash may empty it, and Stripe's limits are then simply counted from anew.
rate_limits = Table(
    "rate_limits",
    metadata,
    Column("endpoint", Text, primary_key=True),
    time_column("next_free", nullable=False),
    prefixes=["UNLOGGED"],
)
