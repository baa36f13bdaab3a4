"""Disputes and early fraud warnings, each until a person has looked at it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert

from retry_engine.domain.vocabulary import RiskFlagKind
from retry_engine.store.tables import risk_flags
from retry_engine.store.typed_rows import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskFlag:
    """A dispute or warning; `object_id` is its own id at Stripe, or the charge's."""

    account: str
    object_id: str
    kind: RiskFlagKind
    customer_id: str
    charge_id: str | None
    at: datetime


_READER = Reader(RiskFlag)


def add(
    connection: Connection,
    *,
    account: str,
    object_id: str,
    kind: RiskFlagKind,
    customer_id: str,
    charge_id: str | None,
    at: datetime,
) -> None:
    """Remember a dispute or warning, once."""
    statement = insert(risk_flags).values(
        account=account,
        object_id=object_id,
        kind=kind,
        customer_id=customer_id,
        charge_id=charge_id,
        at=at,
    )
    connection.execute(statement.on_conflict_do_nothing())


def standing(
    connection: Connection, account: str, customer_id: str, *, since: datetime
) -> list[RiskFlag]:
    """Disputes and warnings of the customer from `since` on that no person has cleared, in time."""
    statement = (
        select(*_READER.columns(risk_flags))
        .where(risk_flags.c.account == account, risk_flags.c.customer_id == customer_id)
        .where(risk_flags.c.at >= since, risk_flags.c.cleared_at.is_(None))
        .order_by(risk_flags.c.at, risk_flags.c.object_id)
    )
    return _READER.all(connection.execute(statement))


def clear(connection: Connection, account: str, object_ids: Sequence[str], *, at: datetime) -> None:
    """A person has looked at these: they hold no case back any more."""
    connection.execute(
        update(risk_flags)
        .where(risk_flags.c.account == account, risk_flags.c.object_id.in_(object_ids))
        .where(risk_flags.c.cleared_at.is_(None))
        .values(cleared_at=at)
    )
