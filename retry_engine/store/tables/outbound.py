"""What the host application is told, and the door that it goes through."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, Table, Text, text

from retry_engine.store.tables.base import metadata, time_column

# All times but `created`, which is on the case's clock, are real ones.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Text, primary_key=True),  # made of what it tells of: the same thing is told once
    Column("type", Text, nullable=False),
    Column("account", Text, nullable=False, server_default=""),
    Column("case_id", Text, ForeignKey("cases.id"), nullable=False),
    time_column("created", nullable=False),
    Column("body", Text, nullable=False),  # each call sends these very bytes
    Column("state", Text, nullable=False, server_default="pending"),
    time_column("since", nullable=False),  # it is given up so long after this
    time_column("next_try_at", nullable=False),
    time_column("claimed_until"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("last_error", Text),
    time_column("finished_at"),
    Index("outbox_pending", "next_try_at", postgresql_where=text("state = 'pending'")),
    Index("outbox_finished", "state", "finished_at", postgresql_where=text("state <> 'pending'")),
    Index("outbox_case", "case_id"),
)

# One row: there is one receiver, and one call of it, of several events at once, at a time.
outbound_door = Table(
    "outbound_door",
    metadata,
    Column("id", Boolean, primary_key=True, server_default="true"),
    Column("wanted", Boolean, nullable=False, server_default="false"),  # as the last worker began
    time_column("claimed_until"),
    Column("silences", Integer, nullable=False, server_default="0"),  # without an answer between
    time_column("opens_at"),  # null: open
    Column("delivered", BigInteger, nullable=False, server_default="0"),  # all that ever were
    time_column("last_delivered_at"),
    Column("last_error", Text),
)
