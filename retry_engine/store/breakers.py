"""Accounts at Stripe that answer nothing: asked once in a while, so that others have their turn.

A breaker opens after some failures of one cause with no answer in between; from then on the
account's work waits, but for one probe at `next_probe_at`. Any answer takes it away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select, text, update

from retry_engine.domain.vocabulary import Cause
from retry_engine.store.tables import breakers
from retry_engine.store.typed_rows import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """One account and cause. `since`: the first failure that no answer came after."""

    account: str
    cause: Cause
    failures: int
    since: datetime
    next_probe_at: datetime | None
    given_up_at: datetime | None
    error: str


_READER = Reader(Breaker)


# A failure while it is open and no probe is due is one that was under way already: it says nothing.
_NOTE = text(
    """
    insert into breakers as b (account, cause, failures, since, next_probe_at, error)
      values (:account, :cause, 1, :now,
              case when :opens_after <= 1 then cast(:now as timestamptz) + :first end, :error)
    on conflict (account, cause) do update set
      failures = b.failures + 1,
      next_probe_at = case when b.failures + 1 >= :opens_after then
        cast(:now as timestamptz) + least(cast(:longest as interval),
          cast(:first as interval) * power(2, least(b.failures + 1 - :opens_after, 12))) end,
      error = excluded.error
      where b.next_probe_at is null or b.next_probe_at <= excluded.since
    """
)


def note(
    connection: Connection,
    account: str,
    cause: Cause,
    *,
    error: str,
    now: datetime,
    opens_after: int,
    first: timedelta,
    longest: timedelta,
) -> Breaker:
    """Count a failure; the breaker opens with the `opens_after`th, each probe later than the last.

    `first` and `longest` bound the time to the next probe.
    """
    values = {
        "account": account,
        "cause": cause,
        "now": now,
        "opens_after": opens_after,
        "first": first,
        "longest": longest,
        "error": error[:500],
    }
    connection.execute(_NOTE, values)
    statement = select(*_READER.columns(breakers)).where(
        breakers.c.account == account, breakers.c.cause == cause
    )
    return _READER.one(connection.execute(statement))


def reset(connection: Connection, account: str) -> None:
    """The account has answered."""
    connection.execute(delete(breakers).where(breakers.c.account == account))


def give_up(connection: Connection, breaker: Breaker, *, now: datetime) -> None:
    """No answer is expected any more; a probe still asks for one when there is work."""
    connection.execute(
        update(breakers)
        .where(breakers.c.account == breaker.account, breakers.c.cause == breaker.cause)
        .values(given_up_at=now)
    )


def troubled(connection: Connection, accounts: Sequence[str]) -> set[str]:
    """Those of the accounts about which anything is noted."""
    query = select(breakers.c.account).where(breakers.c.account.in_(accounts))
    return set(connection.execute(query).scalars())


def is_closed_to_us(connection: Connection, account: str, *, now: datetime) -> bool:
    """Whether the account is not to be asked now."""
    query = select(breakers.c.account).where(
        breakers.c.account == account, breakers.c.next_probe_at > now
    )
    return connection.execute(query.limit(1)).first() is not None


def open_ones(connection: Connection) -> list[Breaker]:
    """The accounts that are not asked, or given up, longest first."""
    query = select(*_READER.columns(breakers)).where(breakers.c.next_probe_at.is_not(None))
    return _READER.all(connection.execute(query.order_by(breakers.c.since)))
