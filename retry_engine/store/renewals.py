"""Renewals whose payment is going to fail, and what their customers were told of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from retry_engine.domain.vocabulary import MessageKind, RenewalState
from retry_engine.store.tables import renewals
from retry_engine.store.typed_rows import Reader

# Of `unknown` nobody knows whether it arrived: it counts as said.
SAID = (RenewalState.SENDING, RenewalState.SENT, RenewalState.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """One row. `due_at`, `renews_at` and `at` are on the customer's clock."""

    id: int
    account: str
    customer_id: str
    subscription_id: str
    test_clock: str | None
    renews_at: datetime
    method_id: str
    kind: MessageKind
    amount: int
    currency: str
    due_at: datetime
    state: RenewalState
    tries: int
    at: datetime | None
    message_id: str | None
    address_hash: str | None
    language: str | None


_READER = Reader(Renewal)
_COLUMNS = _READER.columns(renewals)
_DUE = """
    state = 'planned' and case when test_clock is null then due_at <= :now
      else due_at <= (select frozen_time from clocks c
                      where c.account = renewals.account and c.id = renewals.test_clock) end
"""
_CLAIM = text(
    f"""
    update renewals set claimed_until = :until, tries = tries + 1 where id = (
      select id from renewals where {_DUE}
        and (claimed_until is null or claimed_until < :now)
      order by due_at limit 1 for update skip locked
    ) returning id
    """  # noqa: S608  # constants only
)


def add(connection: Connection, **values: Any) -> None:
    """Plan a warning; one for each renewal."""
    connection.execute(insert(renewals).values(**values).on_conflict_do_nothing())


def claim(connection: Connection, *, now: datetime, lease: timedelta) -> Renewal | None:
    """The next that is due by its customer's clock, for this process alone until the lease ends."""
    found = connection.execute(_CLAIM, {"now": now, "until": now + lease}).scalar()
    return None if found is None else get(connection, found)


def get(connection: Connection, renewal_id: int) -> Renewal:
    """By id."""
    query = select(*_COLUMNS).where(renewals.c.id == renewal_id)
    return _READER.one(connection.execute(query))


def by_message_id(connection: Connection, message_id: str) -> Renewal | None:
    """The renewal that was warned of with that message."""
    query = select(*_COLUMNS).where(renewals.c.message_id == message_id)
    return _READER.first(connection.execute(query))


def change(connection: Connection, renewal_id: int, *, state: str, **values: Any) -> None:
    """Write what became of it."""
    connection.execute(
        update(renewals).where(renewals.c.id == renewal_id).values(state=state, **values)
    )


def drop(
    connection: Connection,
    account: str,
    *,
    result: str,
    customer_id: str | None = None,
    test_clock: str | None = None,
) -> None:
    """Warn nobody there any more: of the whole account, or of that customer or clock."""
    statement = update(renewals).where(renewals.c.account == account, renewals.c.state == "planned")
    if customer_id is not None:
        statement = statement.where(renewals.c.customer_id == customer_id)
    if test_clock is not None:
        statement = statement.where(renewals.c.test_clock == test_clock)
    connection.execute(statement.values(state="dropped", result=result[:500], claimed_until=None))


def forget_the_dead(connection: Connection, *, now: datetime) -> None:
    """Of a message whose process died between the intent and the answer nobody knows any more."""
    connection.execute(
        update(renewals)
        .where(renewals.c.state == RenewalState.SENDING, renewals.c.claimed_until < now)
        .values(state=RenewalState.UNKNOWN, result="its process ended")
    )


def warned_of(connection: Connection, account: str, customer_id: str) -> Sequence[Renewal]:
    """What the customer was warned of and has not mended."""
    query = select(*_COLUMNS).where(
        renewals.c.account == account,
        renewals.c.customer_id == customer_id,
        renewals.c.state.in_(SAID),
    )
    return _READER.all(connection.execute(query))


def said_to_customer(
    connection: Connection, account: str, customer_id: str, *, since: datetime
) -> int:
    """How many warnings the customer got."""
    query = select(func.count()).where(
        renewals.c.account == account,
        renewals.c.customer_id == customer_id,
        renewals.c.at >= since,
        renewals.c.state.in_((*SAID, RenewalState.MENDED)),
    )
    return int(connection.execute(query).scalar_one())


def due(connection: Connection, *, now: datetime) -> int:
    """How many are due, or were being written when their process died."""
    dead = "state = 'sending' and claimed_until < :now"
    query = f"select count(*) from renewals where {_DUE} or {dead}"  # noqa: S608  # constants only
    return int(connection.execute(text(query), {"now": now}).scalar_one())
