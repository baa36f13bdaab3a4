"""Invoices that Stripe does not retry because of us, and what is done about each.

An invoice is held from the moment it was taken over until it is paid, void, or Stripe's own again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from retry_engine.domain.actions import ENDS, LAST_DUTIES
from retry_engine.domain.vocabulary import CloseReason
from retry_engine.store.intents import GIVEN_UP
from retry_engine.store.prepared import in_words, words

# Who signs what nobody said: none of these is a person who has been told of anything.
THE_POLICY = "the policy"
THE_ENGINE = "engine"
# Why an invoice stays with nobody where the policy file says so: its owner's own decision.
KEPT_BY_POLICY = "the policy keeps it"
# After so many refusals an end is tried slowly, and shown.
FAILURES_BEFORE_SHOWN = 8
# How long past its deadline a case may be found living: it may be looked at late.
_GRACE = timedelta(days=1)
_NAMED = 5

_CLOCKED = """
    cases c left join clocks k on k.account = c.account and k.id = c.test_clock
"""
_STILL_TO_DO = "a.case_id = c.id and a.state in ('planned', 'claimed')"
_ENDS = f"a.kind in {words(ENDS)}"
_GIVEN_UP_UNPAID = (
    "c.state = 'closed' and c.close_reason in"
    f" ({in_words(reason for reason in CloseReason if reason.is_given_up)})"
)

# Held, and neither a look, a charge nor an end of it is planned, nor was one ever made.
_NOTHING_PLANNED = f"""
    c.taken_over and (
      (c.state <> 'closed' and not exists (select from actions a where {_STILL_TO_DO}))
      or ({_GIVEN_UP_UNPAID} and not exists (
            select from actions a where a.case_id = c.id and {_ENDS}
              and a.state in ('planned', 'claimed', 'done')))
    )
"""  # noqa: S608  # constants only
_END_REFUSED = f"""
    c.state = 'closed' and exists (select from actions a where {_STILL_TO_DO}
      and a.kind in {words(LAST_DUTIES)} and a.failures >= :shown_after)
"""
_SAID_BY_A_PERSON = """
    exists (select from overrides o where o.case_id = c.id and o.at >= c.closed_at
            and o.by not in (:the_policy, :the_engine))
"""
_DECIDED = f"""
    ({_SAID_BY_A_PERSON}
     or exists (select from actions a where a.case_id = c.id and a.state = 'done'
                and (a.kind = 'keep_off' or a.result like '%' || :kept_by_policy || '%')))
"""  # constants only
_KEPT = f"""
    c.taken_over and {_GIVEN_UP_UNPAID}
      and not exists (select from actions a where {_STILL_TO_DO} and {_ENDS})
"""
# All was tried, and what is to become of the invoice waits as long as the engine may not do it.
_END_WAITS = f"""
    c.taken_over and c.state = 'closed' and exists (select from actions a where {_STILL_TO_DO}
      and ((a.kind = 'end' and (select paused from engine_state))
           or ({_ENDS} and c.mode = 'takeover' and :shut)))
"""  # noqa: S608  # constants only
# Of a charge that the engine sent nobody can tell what came of it, and no person has noted that.
_OUTCOME_GIVEN_UP = f"""
    exists (select from attempts t where t.case_id = c.id and t.source = 'engine'
            and t.outcome = 'unknown' and not t.abandoned
            and t.error like :given_up || '%') and not {_SAID_BY_A_PERSON}
"""
_OVERDUE = """
    c.state <> 'closed' and exists (select from reviews r where r.case_id = c.id
      and r.state = 'open' and r.deadline_at <= coalesce(k.frozen_time, :now))
"""

_KINDS = {
    "living": "c.taken_over and c.state <> 'closed'",
    "nothing_planned": _NOTHING_PLANNED,
    "past_deadline": (
        "c.taken_over and c.state not in ('closed', 'processing')"
        " and c.deadline_at + :grace < coalesce(k.frozen_time, :now)"
    ),
    "end_refused": _END_REFUSED,
    "end_waits": _END_WAITS,
    "kept_from_stripe": f"{_KEPT} and not {_DECIDED}",
    "kept_off_by_decision": f"{_KEPT} and {_DECIDED}",
    "review_overdue": _OVERDUE,
    "outcome_given_up": _OUTCOME_GIVEN_UP,
}


@dataclass(frozen=True, slots=True)
class Held:
    """How many invoices are held in one way, and some of them by name, the oldest first."""

    count: int
    invoices: tuple[str, ...]

    @property
    def names(self) -> str:
        """Some of them, in words."""
        more = self.count - len(self.invoices)
        return ", ".join(self.invoices) + (f" and {more} more" if more > 0 else "")


def found(connection: Connection, *, now: datetime, shut: bool) -> dict[str, Held]:
    """Every way in which an invoice is held, with those that are; `now` is real time.

    `shut`: this engine writes nothing, so that the ends of cases taken over wait.
    """
    return {kind: _found(connection, where, now, shut=shut) for kind, where in _KINDS.items()}


def overdue_reviews(connection: Connection, *, now: datetime) -> int:
    """Reviews that wait beyond their deadline, each by its case's clock."""
    return _found(connection, _OVERDUE, now).count


def outcomes_given_up(connection: Connection, *, now: datetime) -> int:
    """Cases with a charge of which nobody can tell what came of it."""
    return _found(connection, _OUTCOME_GIVEN_UP, now).count


def breaches(connection: Connection, *, now: datetime) -> dict[str, int]:
    """What may never be, counted: invoices held that nothing is done about, charges forgotten."""
    forgotten = text(
        "select count(*) from attempts a join cases c on c.id = a.case_id"
        " where c.state = 'closed' and a.source = 'engine' and a.outcome = 'unknown'"
        " and not a.abandoned and a.sent_at < :before"
        " and coalesce(a.error, '') not like :given_up || '%'"
    )
    values = {"before": now - timedelta(hours=1), "given_up": GIVEN_UP}
    return {
        "invoice_held_and_nothing_planned": _found(connection, _NOTHING_PLANNED, now).count,
        "unknown_outcome_on_a_closed_case": int(connection.execute(forgotten, values).scalar_one()),
    }


def _found(connection: Connection, where: str, now: datetime, *, shut: bool = False) -> Held:
    query = f"""
        select count(*), (array_agg(c.invoice_id order by c.opened_at, c.id))[1\\:{_NAMED}]
          from {_CLOCKED} where {where}
    """  # noqa: S608  # constants only
    every = {
        "now": now,
        "grace": _GRACE,
        "shown_after": FAILURES_BEFORE_SHOWN,
        "the_policy": THE_POLICY,
        "the_engine": THE_ENGINE,
        "kept_by_policy": KEPT_BY_POLICY,
        "given_up": GIVEN_UP,
        "shut": shut,
    }
    used = {name: value for name, value in every.items() if f":{name}" in query}
    count, invoices = connection.execute(text(query), used).one()
    return Held(int(count), tuple(invoices or ()))
