"""What is known of a customer across their cases, in one query."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from retry_engine.domain.vocabulary import (
    ActionKind,
    ActionState,
    CaseState,
    MessageState,
    Mode,
)
from retry_engine.store.prepared import Prepared, words
from retry_engine.store.typed_rows import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class LivingCase:
    """A case that is not closed, as far as a customer's standing goes.

    `retry_at` is the engine's planned charge, `stripe_next_attempt_at` Stripe's own; `letter` is
    the newest message about the case that led somewhere; `clock_time` is None on real time.
    """

    id: str
    state: CaseState
    mode: Mode
    amount_remaining: int
    currency: str
    opened_at: datetime
    deadline_at: datetime
    stripe_next_attempt_at: datetime | None
    clock_time: datetime | None
    retry_at: datetime | None
    letter: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """`cases`: the living ones, the oldest first."""

    cases: tuple[LivingCase, ...]
    engine_is_paused: bool


_READER = Reader(LivingCase)

# Without an account it is the engine's own, or the connected one where the customer has a case.
_STANDING = Prepared(
    f"""
    with whose as (
      select coalesce(%(account)s, (select account from cases where customer_id = %(customer_id)s
                                      order by account limit 1), '') as account
    ), heard as (
      select exists (select from cases x where x.customer_id = %(customer_id)s
                                           and x.account = whose.account)
          or exists (select from payment_methods x where x.customer_id = %(customer_id)s
                                                     and x.account = whose.account)
          or exists (select from attempts x where x.customer_id = %(customer_id)s
                                              and x.account = whose.account)
          or exists (select from renewals x where x.customer_id = %(customer_id)s
                                              and x.account = whose.account)
          or exists (select from attempt_log x where x.customer_id = %(customer_id)s
                                                 and x.account = whose.account) as of_them
        from whose
    )
    select heard.of_them, e.paused, c.id, c.state, c.mode, c.amount_remaining, c.currency,
           c.opened_at, c.deadline_at, c.stripe_next_attempt_at, k.frozen_time as clock_time,
           a.due_at as retry_at, letters.message_id as letter
      from whose cross join heard cross join engine_state e
      left join cases c on c.customer_id = %(customer_id)s and c.account = whose.account
                       and c.state <> '{CaseState.CLOSED}'
      left join clocks k on k.account = c.account and k.id = c.test_clock
      left join actions a on a.case_id = c.id and a.kind = '{ActionKind.RETRY}'
                         and a.state in {words((ActionState.PLANNED, ActionState.CLAIMED))}
      left join lateral (
        select m.message_id from messages m
          where m.case_id = c.id and m.message_id is not null
            and m.state in {words((MessageState.SENT, MessageState.BOUNCED, MessageState.UNKNOWN))}
          order by m.at desc, m.id desc limit 1) letters on true
      order by c.opened_at, c.id
    """  # noqa: S608  # our own words
)


def standing(connection: Connection, customer_id: str, *, account: str | None) -> Known | None:
    """What is known of that customer; None: nothing at all."""
    rows = list(_STANDING.run(connection, customer_id=customer_id, account=account).mappings())
    if not rows[0]["of_them"]:
        return None
    return Known(
        cases=tuple(_READER.read(row) for row in rows if row["id"] is not None),
        engine_is_paused=bool(rows[0]["paused"]),
    )
