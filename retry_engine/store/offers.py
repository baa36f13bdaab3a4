"""What customers were offered, and what of it was given."""

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from retry_engine.domain.offers import COMMITTED, GIVEN, OfferState
from retry_engine.store.tables import offers


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
    state: OfferState
    taken_at: datetime | None
    pay_until: datetime | None
    sent_at: datetime | None
    credit_note_id: str | None
    ended_at: datetime | None
    error: str | None


_COLUMNS = [offers.c[f.name] for f in fields(StoredOffer)]
# Budgets are looked at and used by one transaction at a time.
_BUDGET_LOCK = text("select pg_advisory_xact_lock(72657472, 7)")


def of_case(connection: Connection, case_id: str) -> StoredOffer | None:
    """The case's one offer."""
    query = select(*_COLUMNS).where(offers.c.case_id == case_id)
    row = connection.execute(query).mappings().first()
    return None if row is None else StoredOffer(**{**row, "state": OfferState(row["state"])})


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
    connection.execute(_BUDGET_LOCK)
    at: datetime = values["at"]
    month = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    ours = select(func.coalesce(func.sum(offers.c.amount), 0)).where(
        offers.c.currency == values["currency"], offers.c.state.in_(COMMITTED)
    )
    in_month = ours.where(
        or_(
            offers.c.at >= month,
            offers.c.taken_at >= month,
            offers.c.state == OfferState.OPEN,
        )
    )
    to_customer = ours.where(
        offers.c.account == values["account"],
        offers.c.customer_id == values["customer_id"],
        offers.c.at > at - timedelta(days=365),
    )
    for query, budget in ((in_month, month_budget), (to_customer, customer_budget)):
        if connection.execute(query).scalar_one() + values["amount"] > budget:
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


def change(connection: Connection, offer_id: int, state: OfferState, **values: Any) -> None:
    """Write what became of it."""
    connection.execute(update(offers).where(offers.c.id == offer_id).values(state=state, **values))


def counts(connection: Connection) -> list[tuple[str, str, int, int]]:
    """(state, currency, how many, their sum in minor units) of all offers."""
    query = select(
        offers.c.state, offers.c.currency, func.count(), func.sum(offers.c.amount)
    ).group_by(offers.c.state, offers.c.currency)
    return [
        (state, currency, n, int(total)) for state, currency, n, total in connection.execute(query)
    ]


def given(connection: Connection, currency: str) -> int:
    """What is given away in a currency at present, minor units."""
    query = select(func.coalesce(func.sum(offers.c.amount), 0)).where(
        offers.c.currency == currency, offers.c.state.in_(GIVEN)
    )
    return int(connection.execute(query).scalar_one())
