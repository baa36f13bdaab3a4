"""What all tables are made of."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    MetaData,
    Text,
    text,
)

metadata = MetaData()
# What was recorded there is not rewritten or taken out: a trigger of the database refuses it.
APPEND_ONLY: dict[Any, Any] = {"append_only": True}


def time_column(name: str, *, nullable: bool = True, now: bool = False) -> Column[object]:
    """A time, with its zone."""
    default = text("now()") if now else None
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=default)


def key_column() -> Column[int]:
    """A number that the database gives."""
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def case_column() -> Column[str]:
    """The case that a row is about."""
    return Column("case_id", Text, ForeignKey("cases.id"), nullable=False)
