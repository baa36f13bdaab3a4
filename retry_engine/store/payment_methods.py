"""Saved payment methods as last read from Stripe, and whose cases they can pay."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict, Unpack

from sqlalchemy import Connection, and_, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert

from retry_engine.domain.case_states import CaseState
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.store.prepared import Prepared
from retry_engine.store.tables import cases, payment_methods
from retry_engine.store.typed_rows import Reader


class MethodChanges(TypedDict, total=False):
    """Columns of a method that may change."""

    customer_id: str
    type: str
    card_brand: str | None
    card_funding: str | None
    card_country: str | None
    card_exp_year: int | None
    card_exp_month: int | None
    card_fingerprint: str | None
    added_at: datetime | None
    changed_at: datetime | None
    authenticated_at: datetime | None
    mandate_active: bool | None
    blocked_reason: str | None
    detached_at: datetime | None


class MethodValues(MethodChanges):
    """The columns of a method as it is put."""

    account: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRow:
    """A payment method's row; the fields are the columns of `tables.payment_methods`."""

    account: str
    id: str
    customer_id: str
    type: str
    card_brand: str | None
    card_funding: str | None
    card_country: str | None
    card_exp_year: int | None
    card_exp_month: int | None
    card_fingerprint: str | None
    added_at: datetime | None
    changed_at: datetime | None
    authenticated_at: datetime | None
    mandate_active: bool | None
    blocked_reason: str | None
    detached_at: datetime | None


_READER = Reader(MethodRow)
_COLUMNS = _READER.columns(payment_methods)
_ATTACHED = Prepared(
    select(*_COLUMNS).where(
        payment_methods.c.account == bindparam("account"),
        payment_methods.c.customer_id == bindparam("customer_id"),
        payment_methods.c.detached_at.is_(None),
    )
)


def attached(
    connection: Connection, account: str, customer_id: str, *, default_id: str | None
) -> tuple[PaymentMethod, ...]:
    """The customer's attached methods, the default first."""
    rows = _READER.all(_ATTACHED.run(connection, account=account, customer_id=customer_id))
    found = [_as_method(row, default_id) for row in rows]
    return tuple(sorted(found, key=lambda m: (not m.is_default, m.id)))


def get(connection: Connection, account: str, method_id: str) -> MethodRow | None:
    """One method, detached ones included."""
    statement = select(*_COLUMNS).where(
        payment_methods.c.account == account, payment_methods.c.id == method_id
    )
    return _READER.first(connection.execute(statement))


def put(connection: Connection, **values: Unpack[MethodValues]) -> None:
    """Insert or overwrite a method."""
    statement = insert(payment_methods).values(**values)
    changes = {k: v for k, v in values.items() if k not in ("account", "id")}
    connection.execute(
        statement.on_conflict_do_update(index_elements=["account", "id"], set_=changes)
    )


def change(
    connection: Connection, account: str, method_id: str, **values: Unpack[MethodChanges]
) -> None:
    """Set columns of one method."""
    connection.execute(
        update(payment_methods)
        .where(payment_methods.c.account == account, payment_methods.c.id == method_id)
        .values(**values)
    )


def detach_missing(
    connection: Connection, account: str, customer_id: str, *, present: Sequence[str], at: datetime
) -> int:
    """Mark what Stripe no longer lists; how many that were."""
    result = connection.execute(
        update(payment_methods)
        .where(payment_methods.c.account == account, payment_methods.c.customer_id == customer_id)
        .where(payment_methods.c.detached_at.is_(None), payment_methods.c.id.not_in(present))
        .values(detached_at=at)
    )
    return int(result.rowcount)


def _as_method(row: MethodRow, default_id: str | None) -> PaymentMethod:
    year, month = row.card_exp_year, row.card_exp_month
    expiry = None if year is None or month is None else (year, month)
    return PaymentMethod(
        id=row.id,
        type=row.type,
        card_brand=row.card_brand,
        card_funding=row.card_funding,
        card_country=row.card_country,
        card_exp=expiry,
        card_fingerprint=row.card_fingerprint,
        is_default=row.id == default_id,
        added_at=row.added_at,
        changed_at=row.changed_at,
        authenticated_at=row.authenticated_at,
        mandate_active=row.mandate_active,
        blocked_reason=row.blocked_reason,
    )


# -- whose cases they can pay


def case_ids_of_method(connection: Connection, account: str, method_id: str) -> list[str]:
    """Living cases of the customer who has, or had, that payment method."""
    statement = (
        select(cases.c.id)
        .join(
            payment_methods,
            and_(
                payment_methods.c.account == cases.c.account,
                payment_methods.c.customer_id == cases.c.customer_id,
            ),
        )
        .where(payment_methods.c.account == account, payment_methods.c.id == method_id)
        .where(cases.c.state != CaseState.CLOSED)
        .order_by(cases.c.id)
    )
    return list(connection.execute(statement).scalars())


def case_ids_of_card(connection: Connection, account: str, fingerprint: str) -> list[str]:
    """Living cases of whoever has that card saved."""
    statement = (
        select(cases.c.id)
        .join(
            payment_methods,
            and_(
                payment_methods.c.account == cases.c.account,
                payment_methods.c.customer_id == cases.c.customer_id,
            ),
        )
        .where(cases.c.account == account, cases.c.state != CaseState.CLOSED)
        .where(payment_methods.c.card_fingerprint == fingerprint)
        .where(payment_methods.c.detached_at.is_(None))
        .distinct()
        .order_by(cases.c.id)
    )
    return list(connection.execute(statement).scalars())
