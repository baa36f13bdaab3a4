"""What is learnt from, and the models."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from retry_engine.store.tables.base import metadata, time_column

attempt_log = Table(
    "attempt_log",
    metadata,
    Column("row_hash", Text, primary_key=True),  # importing a file twice changes nothing
    Column("account", Text, nullable=False, server_default=""),
    Column("customer_id", Text, nullable=False),
    time_column("at", nullable=False),
    Column("content", JSONB, nullable=False),
    Index("attempt_log_customer", "account", "customer_id", "at"),
)

backfills = Table(
    "backfills",
    metadata,
    Column("account", Text, primary_key=True, server_default=""),
    Column("since", DateTime(timezone=True), primary_key=True),
    Column("cursor", Text),  # the last charge read; null: nothing yet
    time_column("reached"),  # how far back that is
    Column("charges", BigInteger, nullable=False, server_default="0"),
    Column("invoices", BigInteger, nullable=False, server_default="0"),
    Column("new", BigInteger, nullable=False, server_default="0"),
    Column("changed", BigInteger, nullable=False, server_default="0"),
    time_column("started_at", nullable=False),
    time_column("finished_at"),
)

models = Table(
    "models",
    metadata,
    Column("version", Text, primary_key=True),
    time_column("trained_at", nullable=False),
    Column("state", Text, nullable=False, server_default="stored"),
    time_column("promoted_at"),
    Column("sha256", Text, nullable=False),
    Column("card", JSONB, nullable=False),
    Column("file", LargeBinary, nullable=False),
    Column("plot", LargeBinary),  # the card's calibration plot, a PNG
    Column("reference", JSONB),  # what drift is measured against
    Index("models_one_active", "state", unique=True, postgresql_where=text("state = 'active'")),
)
