"""What a report counts, summed by the database: its size does not grow with the cases."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from retry_engine.domain.vocabulary import CaseResult, CloseReason, Mode
from retry_engine.store.prepared import in_words
from retry_engine.store.typed_rows import Reader

_PAID = in_words(reason for reason in CloseReason if reason.is_paid)
# By whose opening a case belongs to a report.
_ASKED = """
    (cast(:since as timestamptz) is null or c.opened_at >= :since)
    and (cast(:until as timestamptz) is null or c.opened_at < :until)
    and (cast(:account as text) is null or c.account = :account)
"""
_RESULT = f"""
    case when c.state <> 'closed' then 'open'
         when c.close_reason in ({_PAID}) then 'recovered' else 'lost' end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which cases: those opened from `since` on and before `until`, of that account."""

    since: datetime | None
    until: datetime | None
    account: str | None

    @property
    def values(self) -> dict[str, Any]:
        """As a query takes it."""
        return {"since": self.since, "until": self.until, "account": self.account}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Cases that are alike in what a report tells apart, and their sums in minor units.

    `failed` is what was owed when they opened, `cost` what the engine's charges and letters came to
    by each case's own policy, `discounts` what customers took and kept. `through`: what brought the
    money, empty where none came.
    """

    mode: Mode
    result: CaseResult
    month: str
    mature: bool
    currency: str
    decline_code: str
    method: str
    country: str
    through: str
    cases: int
    failed: int
    recovered: int
    cost: int
    discounts: int


_GROUP = Reader(Group)
_GROUPS = text(
    f"""
    with told as (
      select c.mode, {_RESULT} as result,
             to_char(c.opened_at at time zone 'UTC', 'YYYY-MM') as month,
             c.opened_at + :matures_after <= coalesce(k.frozen_time, :now) as mature,
             c.currency, c.close_reason,
             coalesce(tried.code, case tried.first_outcome
               when 'requires_action' then 'authentication_required' end, 'unknown')
               as decline_code,
             coalesce(tried.method, 'unknown') as method,
             coalesce(c.customer_country, 'unknown') as country,
             tried.paid_by, tried.paid,
             coalesce(offered.amount, 0) as off_invoice,
             coalesce(offered.given, 0) + coalesce(changed.given, 0) as discounts,
             coalesce(tried.owed, tried.paid + coalesce(offered.amount, 0), c.amount_at_open)
               as failed,
             coalesce(tried.charges, 0) * (p.content->'value'->>'attempt_cost')::bigint
               + coalesce(said.letters, 0) * (p.content->'value'->>'message_cost')::bigint as cost
      from cases c
      join policies p on p.version = c.policy_version
      left join clocks k on k.account = c.account and k.id = c.test_clock
      left join lateral (
        select (array_agg(a.decline_code order by a.at, a.id))[1] as code,
               (array_agg(a.outcome order by a.at, a.id))[1] as first_outcome,
               (array_agg(a.method_type order by a.at, a.id))[1] as method,
               (array_agg(a.amount order by a.at, a.id))[1] as owed,
               sum(a.amount) filter (where a.outcome = 'succeeded') as paid,
               (array_agg(a.source order by a.at desc, a.id desc)
                 filter (where a.outcome = 'succeeded'))[1] as paid_by,
               count(*) filter (where a.source = 'engine') as charges
        from attempts a where a.case_id = c.id and not a.abandoned
      ) tried on true
      left join lateral (
        select count(*) as letters from messages m
        where m.case_id = c.id and m.said_in is null and m.state in ('sent', 'bounced', 'unknown')
      ) said on true
      left join lateral (
        select sum(o.amount) as given, sum(o.amount) filter (where o.way = 'credit_note') as amount
        from offers o where o.case_id = c.id and o.state = 'taken'
      ) offered on true
      left join lateral (
        select sum(d.amount) as given from changes d where d.case_id = c.id and d.state = 'taken'
      ) changed on true
      where {_ASKED}
    )
    select mode, result, month, mature, currency, decline_code, method, country,
           case when result <> 'recovered' then ''
                when close_reason = 'recovered_by_engine' and paid_by is distinct from 'engine'
                  then 'link'
                else coalesce(paid_by, 'elsewhere') end as through,
           count(*) as cases, sum(failed)::bigint as failed,
           sum(case when result = 'recovered' then coalesce(paid, failed - off_invoice) else 0 end)
             ::bigint as recovered,
           sum(cost)::bigint as cost, sum(discounts)::bigint as discounts
    from told
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9
    """  # noqa: S608  # constants only
)


def groups(
    connection: Connection, window: Window, *, now: datetime, matures_after: timedelta
) -> list[Group]:
    """All cases of the window, summed; mature after so long on each case's own clock."""
    values = {**window.values, "now": now, "matures_after": matures_after}
    return _GROUP.all(connection.execute(_GROUPS, values))


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptNumber:
    """How many cases that are over had that attempt, and how many of these were paid by it."""

    number: int
    made: int
    paid: int


_NUMBER = Reader(AttemptNumber)
_NUMBERS = text(
    f"""
    select number, count(*) as made, count(*) filter (where outcome = 'succeeded') as paid
    from (
      select a.outcome,
             row_number() over (partition by a.case_id order by a.at, a.id)::int as number
      from attempts a join cases c on c.id = a.case_id
      where not a.abandoned and c.mode = 'takeover' and c.state = 'closed' and {_ASKED}
    ) tried
    group by number order by number
    """  # noqa: S608  # constants only
)


def attempt_numbers(connection: Connection, window: Window) -> list[AttemptNumber]:
    """Of the engine's cases that are over, by the attempt's number in its case, anybody's."""
    return _NUMBER.all(connection.execute(_NUMBERS, window.values))


def last_opened(connection: Connection, window: Window) -> datetime | None:
    """When the newest case of the window opened, on its own clock."""
    query = text(f"select max(c.opened_at) from cases c where {_ASKED}")  # noqa: S608
    found: datetime | None = connection.execute(query, window.values).scalar()
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Customers that are alike to the comparison; `share` of all were drawn into the holdout then.

    `cases` is how many cases the window holds of them, the first of each counts.
    """

    share: float
    mode: Mode
    mature: bool
    recovered: bool
    customers: int
    cases: int


_DRAWN = Reader(Drawn)
_COMPARED = text(
    f"""
    with eligible as (
      select c.account, c.customer_id, c.mode, c.opened_at, c.id,
             (p.content->'comparison'->>'holdout')::float as share,
             c.opened_at + :matures_after <= coalesce(k.frozen_time, :now) as mature,
             least(case when c.close_reason in ({_PAID}) then c.closed_at end, c.paid_late_at)
               <= c.opened_at + :matures_after as recovered
      from cases c
      join policies p on p.version = coalesce(
        (select o.before->>'policy_version' from overrides o
         where o.case_id = c.id and o.action = 'migrate_policy' order by o.id limit 1),
        c.policy_version)
      left join clocks k on k.account = c.account and k.id = c.test_clock
      where c.mode in ('takeover', 'holdout') and {_ASKED}
    ), counted as (
      select *, row_number() over (partition by account, customer_id order by opened_at, id) as n,
             count(*) over (partition by account, customer_id) as cases
      from eligible where share > 0 and share < 1
    )
    select share, mode, mature, coalesce(recovered, false) as recovered,
           count(*) as customers, sum(cases)::bigint as cases
    from counted where n = 1
    group by 1, 2, 3, 4
    """  # noqa: S608  # constants only
)


def drawn_customers(
    connection: Connection, window: Window, *, now: datetime, matures_after: timedelta
) -> list[Drawn]:
    """Customers by arm, by their first case in the window that opened while there was a holdout.

    Recovered: paid by anybody within `matures_after` of its opening, also after the engine's end.
    """
    values = {**window.values, "now": now, "matures_after": matures_after}
    return _DRAWN.all(connection.execute(_COMPARED, values))
