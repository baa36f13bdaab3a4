"""What customers were offered, what of it was given, and what they changed themselves."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from retry_engine.domain.offers import COMMITTED, Change, OfferState, Way
from retry_engine.store.tables import changes, offers
from retry_engine.store.typed_rows import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOffer:
    """One row. Times are on the case's clock, `sent_at` is real time."""

    id: int
    case_id: str
    account: str
    customer_id: str
    decision_id: int | None
    at: datetime
    until: datetime
    amount: int
    currency: str
    way: Way
    state: OfferState
    taken_at: datetime | None
    pay_until: datetime | None
    sent_at: datetime | None
    given_as: str | None
    ended_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChange:
    """One row. `amount` is what the days between are worth; times as in `StoredOffer`."""

    id: int
    case_id: str
    account: str
    customer_id: str
    subscription_id: str
    kind: Change
    at: datetime
    until: datetime
    amount: int
    currency: str
    state: OfferState
    sent_at: datetime
    error: str | None


_OFFER = Reader(StoredOffer)
_COLUMNS = _OFFER.columns(offers)
_CHANGE = Reader(StoredChange)
_CHANGE_COLUMNS = _CHANGE.columns(changes)
# Budgets are looked at and used by one transaction at a time.
_BUDGET_LOCK = text("select pg_advisory_xact_lock(72657472, 7)")


def of_case(connection: Connection, case_id: str) -> StoredOffer | None:
    """The case's one offer."""
    query = select(*_COLUMNS).where(offers.c.case_id == case_id)
    return _OFFER.first(connection.execute(query))


def last_to_customer(
    connection: Connection, account: str, customer_id: str, *, but: str
) -> datetime | None:
    """When the customer was last offered something about another case."""
    query = select(func.max(offers.c.at)).where(
        offers.c.account == account, offers.c.customer_id == customer_id, offers.c.case_id != but
    )
    found: datetime | None = connection.execute(query).scalar()
    return found


def reserve(
    connection: Connection, *, month_budget: int, customer_budget: int, **values: Any
) -> StoredOffer | None:
    """Make the offer where both budgets have room for it, and the case has had none.

    What may still be taken counts as given. Everybody who reserves waits for everybody else who
    does, until they commit; so no two can use the same room.
    """
    if not _has_room(connection, month_budget, customer_budget, values):
        return None
    statement = (
        insert(offers)
        .values(state=OfferState.OPEN, **values)
        .on_conflict_do_nothing(index_elements=["case_id"])
        .returning(offers.c.id)
    )
    if connection.execute(statement).scalar() is None:
        return None
    return of_case(connection, values["case_id"])


def reserve_change(
    connection: Connection, *, month_budget: int, customer_budget: int, **values: Any
) -> StoredChange | None:
    """Begin a change where both budgets have room for what it is worth; one of a kind a case."""
    if not _has_room(connection, month_budget, customer_budget, values):
        return None
    statement = (
        insert(changes)
        .values(state=OfferState.TAKING, **values)
        .on_conflict_do_nothing(index_elements=["case_id", "kind"])
        .returning(changes.c.id)
    )
    if connection.execute(statement).scalar() is None:
        return None
    return change_of_case(connection, values["case_id"], values["kind"])


def _has_room(
    connection: Connection, month_budget: int, customer_budget: int, values: dict[str, Any]
) -> bool:
    connection.execute(_BUDGET_LOCK)
    at: datetime = values["at"]
    month = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    spent = in_month(connection, values["currency"], month)
    to_customer = 0
    for table in (offers, changes):
        query = select(func.coalesce(func.sum(table.c.amount), 0)).where(
            table.c.currency == values["currency"],
            table.c.state.in_(COMMITTED),
            table.c.account == values["account"],
            table.c.customer_id == values["customer_id"],
            table.c.at > at - timedelta(days=365),
        )
        to_customer += int(connection.execute(query).scalar_one())
    amount: int = values["amount"]
    return spent + amount <= month_budget and to_customer + amount <= customer_budget


def in_month(connection: Connection, currency: str, month: datetime) -> int:
    """What the month's budget has been used for, minor units; `month` is its first moment."""
    offered = select(func.coalesce(func.sum(offers.c.amount), 0)).where(
        offers.c.currency == currency,
        offers.c.state.in_(COMMITTED),
        or_(
            offers.c.at >= month,
            offers.c.taken_at >= month,
            offers.c.state == OfferState.OPEN,
        ),
    )
    changed = select(func.coalesce(func.sum(changes.c.amount), 0)).where(
        changes.c.currency == currency, changes.c.state.in_(COMMITTED), changes.c.at >= month
    )
    return sum(int(connection.execute(query).scalar_one()) for query in (offered, changed))


def change_of_case(connection: Connection, case_id: str, kind: Change) -> StoredChange | None:
    """The case's change of that kind."""
    found = changes_of_case(connection, case_id)
    return next((change for change in found if change.kind == kind), None)


def changes_of_case(connection: Connection, case_id: str) -> list[StoredChange]:
    """All that the customer changed about the case."""
    query = select(*_CHANGE_COLUMNS).where(changes.c.case_id == case_id).order_by(changes.c.id)
    return _CHANGE.all(connection.execute(query))


def settle_change(
    connection: Connection, change_id: int, state: OfferState, *, error: str | None = None
) -> None:
    """Write what became of it."""
    connection.execute(
        update(changes).where(changes.c.id == change_id).values(state=state, error=error)
    )


def change(connection: Connection, offer_id: int, state: OfferState, **values: Any) -> None:
    """Write what became of it."""
    connection.execute(update(offers).where(offers.c.id == offer_id).values(state=state, **values))


def counts(connection: Connection) -> list[tuple[OfferState, str, int, int]]:
    """(state, currency, how many, their sum in minor units) of all offers."""
    query = select(
        offers.c.state, offers.c.currency, func.count(), func.sum(offers.c.amount)
    ).group_by(offers.c.state, offers.c.currency)
    return [
        (OfferState(state), currency, n, int(total))
        for state, currency, n, total in connection.execute(query)
    ]
