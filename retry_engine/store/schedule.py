"""The schedule of record: what is to be done with a case, and when by its own clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from retry_engine.domain.actions import WAIT_WHILE_PAUSED, WRITE, ActionKind, ActionState
from retry_engine.domain.modes import Mode
from retry_engine.domain.turns import CardCharge
from retry_engine.store.cases import Case
from retry_engine.store.prepared import Prepared, words
from retry_engine.store.tables import actions, breakers, cases


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One row of the schedule. `due_at` is on the case's clock, `claimed_until` on the real one."""

    id: int
    case_id: str
    kind: ActionKind
    state: ActionState
    due_at: datetime
    account: str
    failures: int
    waits: int
    payment_method_id: str | None
    decision_id: int | None
    requested_by: str | None
    troubled: bool = False  # whether anything is noted of its account's silence

    def __post_init__(self) -> None:
        # as read: a word that is none of these is met here, and not where it decides something
        object.__setattr__(self, "kind", ActionKind(self.kind))
        object.__setattr__(self, "state", ActionState(self.state))


# What fails is taken up again after this long at the latest.
LONGEST_WAIT = timedelta(minutes=5)

_COLUMNS = [
    actions.c.id,
    actions.c.case_id,
    actions.c.kind,
    actions.c.state,
    actions.c.due_at,
    actions.c.account,
    actions.c.failures,
    actions.c.waits,
    actions.c.payment_method_id,
    actions.c.decision_id,
    actions.c.requested_by,
]

_GET = Prepared(
    select(
        *_COLUMNS,
        select(breakers.c.account)
        .where(breakers.c.account == actions.c.account)
        .exists()
        .label("troubled"),
    ).where(actions.c.id == bindparam("action_id"))
)

_FINISH = Prepared(
    """
    update actions set state = %(state)s, finished_at = now(), claimed_until = null, held = false,
                       result = %(result)s
      where id = %(action_id)s and state = 'claimed'
    """
)

_CANCEL = Prepared(
    """
    update actions set state = 'cancelled', finished_at = now(), result = %(result)s
      where case_id = %(case_id)s and kind = %(kind)s and state = 'planned'
    """
)

_ON_CARD = Prepared(
    """
    select c.id as case_id, c.invoice_id, a.due_at, c.opened_at, c.deadline_at,
           c.amount_remaining as amount, c.currency,
           coalesce(d.expected_value, 0) as expected_value, a.requested_by is not null as by_person,
           (select max(t.at) from attempts t
              where t.case_id = c.id and t.source = 'engine' and not t.abandoned) as tried_at
      from cases c
      join actions a on a.case_id = c.id and a.kind = 'retry' and a.state in ('planned', 'claimed')
      left join decisions d on d.id = a.decision_id
      left join payment_methods p on p.account = c.account and p.id = a.payment_method_id
      where c.account = %(account)s and c.customer_id = %(customer_id)s
        and c.state = 'open' and c.mode = 'takeover'
        and (a.payment_method_id = %(method_id)s
             or p.card_fingerprint = (select card_fingerprint from payment_methods
                                        where account = %(account)s and id = %(method_id)s))
    """
)

# Not of a case that is being charged, or of whose charge nobody knows the outcome yet: that comes
# first, and then there is something to say of it, or nothing.
_FURTHER_MESSAGES = Prepared(
    f"""
    select distinct on (c.id) {", ".join(f"a.{column.name}" for column in _COLUMNS)}
      from cases c join actions a on a.case_id = c.id and a.kind = 'message'
                                 and a.state in ('planned', 'claimed')
      where c.account = %(account)s and c.customer_id = %(customer_id)s and c.id <> %(case_id)s
        and c.mode = %(mode)s and c.state in ('open', 'needs_customer')
        and not exists (select from actions b where b.case_id = c.id
                          and (b.kind = 'settle' and b.state in ('planned', 'claimed')
                               or b.kind = 'retry' and b.state = 'claimed'))
      order by c.id, a.id desc limit %(most)s
    """  # noqa: S608  # the names of our own columns
)

# What is held lies with nobody: a worker has no less room for it.
_IN_FLIGHT = Prepared(
    "select paused, (select count(*) from actions where state = 'claimed' and not held) as claimed"
    " from engine_state"
)

_WAIT_WHILE_PAUSED, _WRITES = words(WAIT_WHILE_PAUSED), words(WRITE)

# A case that was opened in takeover waits as long as the engine itself may not write.
_SHUT = f"""(:shut and a.kind in {_WRITES}
                and exists (select from cases k where k.id = a.case_id and k.mode = 'takeover'))"""
_FREE = f"(a.kind not in {_WAIT_WHILE_PAUSED} or not :paused) and not {_SHUT}"
_FREE_NOW = f"(a.kind not in {_WAIT_WHILE_PAUSED} or not engine_state.paused) and not {_SHUT}"

# Accounts whose breaker is open, and whether it is time to ask them once more.
_CLOSED_ACCOUNTS = """
    silent as (
      select account, bool_or(next_probe_at > :now) or exists (
          select from actions a where a.state = 'claimed' and not a.held
            and a.claimed_until > :now and a.account = breakers.account) as blocked
        from breakers where next_probe_at is not null group by account
    )
"""

# Each account with something due gets the same share of what is taken: one with a quarter of a
# million due cases does not keep another's ten waiting.
_CLAIM = text(
    f"""
    with recursive {_CLOSED_ACCOUNTS}, heads as (
      (select account, due_at from actions
         where state = 'planned' and test_clock is null order by account, due_at limit 1)
      union all
      select next.account, next.due_at from heads cross join lateral (
        select a.account, a.due_at from actions a
          where a.state = 'planned' and a.test_clock is null and a.account > heads.account
          order by a.account, a.due_at limit 1) next
    ), turns as (
      select heads.account, case when silent.account is null
          then ceil(cast(:limit as numeric) / count(*) over ()) else 1 end as share
        from heads left join silent on silent.account = heads.account
        where heads.due_at <= :now and silent.blocked is not true
    ), real_due as (
      select found.id from turns cross join lateral (
        select a.id, a.due_at from actions a
          where a.state = 'planned' and a.test_clock is null
            and a.account = turns.account and a.due_at <= :now
            and {_FREE}
            and not exists (select from actions b
                            where b.case_id = a.case_id and b.state = 'claimed')
          order by a.due_at limit turns.share for update skip locked) found
        order by found.due_at limit :limit
    ), clock_due as (
      select found.id from clocks c left join silent on silent.account = c.account
        cross join lateral (
        select a.id from actions a
          where a.state = 'planned' and a.test_clock is not null
            and a.account = c.account and a.test_clock = c.id and a.due_at <= c.frozen_time
            and {_FREE}
            and not exists (select from actions b
                            where b.case_id = a.case_id and b.state = 'claimed')
          order by a.due_at limit case when silent.account is null then :limit else 1 end
          for update skip locked) found
        where silent.blocked is not true
        limit :limit
    ), due as (select id from real_due union all select id from clock_due limit :limit)
    update actions set state = 'claimed', claimed_until = :until, claims = claims + 1
      where id in (select id from due) returning id, due_at
    """  # noqa: S608  # constants only
)

_RECLAIM = text(
    f"""
    with {_CLOSED_ACCOUNTS}
    update actions set claimed_until = :until, claims = claims + 1, held = false
      where id in (select id from actions left join silent on silent.account = actions.account
                   where state = 'claimed' and claimed_until < :now and silent.blocked is not true
                   order by claimed_until limit :limit for update of actions skip locked)
      returning id
    """  # noqa: S608  # constants only
)

_COUNTS = text(
    f"""
    select
      (select count(*) from actions a where state = 'planned' and test_clock is null
        and due_at <= :now and {_FREE_NOW})
      + (select coalesce(sum(found.due), 0) from clocks c cross join lateral (
          select count(*) as due from actions a
            where a.state = 'planned' and a.test_clock is not null
              and a.account = c.account and a.test_clock = c.id and a.due_at <= c.frozen_time
              and {_FREE_NOW}
          ) found) as due,
      (select count(*) from actions where state = 'planned') as planned,
      (select count(*) from actions where state = 'claimed') as in_flight,
      least(
        (select min(due_at) from actions where state = 'planned' and test_clock is null),
        (select min(due_at) from actions where state = 'planned' and test_clock is not null)
      ) as next_due_at
    from engine_state
    """  # noqa: S608  # constants only
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many actions are due, in flight, and planned for later, each by its case's clock."""

    due: int
    in_flight: int
    planned: int
    next_due_at: datetime | None


def plan(
    connection: Connection, case: Case, kind: ActionKind, *, at: datetime, **values: Any
) -> None:
    """Plan one action; of each kind a case has one planned at most, and the earlier time stands."""
    statement = insert(actions).values(
        case_id=case.id,
        kind=kind,
        due_at=at,
        account=case.account,
        test_clock=case.test_clock,
        **values,
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["case_id", "kind"],
            index_where=text("state = 'planned'"),
            set_={"due_at": func.least(actions.c.due_at, statement.excluded.due_at)},
        )
    )


def plan_retry(connection: Connection, case: Case, *, at: datetime, **values: Any) -> None:
    """Plan the case's next charge in place of the one that was planned."""
    cancel(connection, case.id, kind=ActionKind.RETRY, result="replaced by a newer decision")
    connection.execute(
        insert(actions).values(
            case_id=case.id,
            kind=ActionKind.RETRY,
            due_at=at,
            account=case.account,
            test_clock=case.test_clock,
            **values,
        )
    )


def cancel(connection: Connection, case_id: str, *, kind: ActionKind, result: str) -> None:
    """Take back what is planned and not yet claimed."""
    _CANCEL.run(connection, case_id=case_id, kind=kind, result=result)


def cancel_claimed_retry(connection: Connection, case_id: str, *, result: str) -> None:
    """Take back a charge that waits for a worker: under the case's lock nobody carries it out."""
    connection.execute(
        update(actions)
        .where(
            actions.c.case_id == case_id, actions.c.kind == "retry", actions.c.state == "claimed"
        )
        .values(state="cancelled", finished_at=func.now(), claimed_until=None, result=result)
    )


def claim_due(
    connection: Connection, *, now: datetime, paused: bool, shut: bool, lease: timedelta, limit: int
) -> list[int]:
    """Claim what is due by each case's clock, and what a dead worker held for too long.

    `shut`: this engine writes nothing, so that cases taken over wait.
    """
    again = connection.execute(
        _RECLAIM, {"now": now, "until": now + lease, "limit": limit}
    ).scalars()
    ids = list(again)
    if len(ids) < limit:
        parameters = {
            "now": now,
            "until": now + lease,
            "paused": paused,
            "shut": shut,
            "limit": limit - len(ids),
        }
        rows = sorted(connection.execute(_CLAIM, parameters), key=lambda row: (row[1], row[0]))
        ids += [row[0] for row in rows]
    return ids


def in_flight(connection: Connection) -> tuple[int, bool]:
    """How many actions are claimed, and whether the engine is paused."""
    row = _IN_FLIGHT.run(connection).one()
    return int(row.claimed), bool(row.paused)


def get(connection: Connection, action_id: int) -> Action | None:
    """The action, or None."""
    row = _GET.run(connection, action_id=action_id).mappings().first()
    return None if row is None else Action(**row)


def finish(
    connection: Connection, action_id: int, *, result: str, state: ActionState = ActionState.DONE
) -> None:
    """Done (or `cancelled`), in the same transaction as what it did."""
    _FINISH.run(connection, action_id=action_id, state=state, result=result[:500])


def hold(connection: Connection, action_id: int, *, until: datetime, result: str) -> None:
    """Keep it claimed and taken up again at `until` (real time)."""
    connection.execute(
        update(actions)
        .where(actions.c.id == action_id, actions.c.state == ActionState.CLAIMED)
        .values(claimed_until=until, result=result[:500], held=True)
    )


def failed(
    connection: Connection, action_id: int, *, now: datetime, result: str, ours: bool
) -> int:
    """Hold it, longer each time; how often it has failed by its own fault (`ours`) so far.

    That the outside world was away counts apart, and that nobody took a claim up counts nowhere.
    """
    tries = actions.c.failures + actions.c.waits + 1
    wait = func.least(timedelta(seconds=1) * func.power(2, func.least(tries, 9)), LONGEST_WAIT)
    count = {"failures": actions.c.failures + 1} if ours else {"waits": actions.c.waits + 1}
    statement = (
        update(actions)
        .where(actions.c.id == action_id, actions.c.state == ActionState.CLAIMED)
        .values(claimed_until=now + wait, result=result[:500], held=True, **count)
        .returning(actions.c.failures)
    )
    return int(connection.execute(statement).scalar() or 0)


_IN_NOBODYS_HANDS = (actions.c.state == ActionState.PLANNED) | (
    (actions.c.state == ActionState.CLAIMED) & actions.c.held
)
_WITHDRAWN = {"state": ActionState.CANCELLED, "finished_at": func.now(), "held": False}


def withdraw(connection: Connection, case_ids: Sequence[str], *, result: str) -> None:
    """Take back all that is planned or held of these cases: nobody is there to do it to."""
    connection.execute(
        update(actions)
        .where(actions.c.case_id.in_(case_ids))
        .where(_IN_NOBODYS_HANDS)
        .values(**_WITHDRAWN, result=result[:500])
    )


def withdraw_of_closed(connection: Connection, account: str, *, result: str) -> None:
    """Take back what was still to be done after the end of an account's cases."""
    connection.execute(
        update(actions)
        .where(actions.c.account == account, actions.c.case_id == cases.c.id)
        .where(cases.c.state == "closed")
        .where(_IN_NOBODYS_HANDS)
        .values(**_WITHDRAWN, result=result[:500])
    )
    connection.execute(
        update(cases)
        .where(cases.c.account == account, cases.c.state == "closed", cases.c.taken_over)
        .values(taken_over=False)
    )


_PLANNED_AGAIN = {"state": ActionState.PLANNED, "claimed_until": None, "held": False}


def put_back(connection: Connection, action: Action, *, at: datetime | None = None) -> None:
    """Back among the planned, or cancelled where the case has planned the same anew meanwhile.

    `at`: for later, by the case's clock.
    """
    mine = update(actions).where(actions.c.id == action.id, actions.c.state == ActionState.CLAIMED)
    later = {"due_at": at} if at is not None else {}
    try:
        with connection.begin_nested():
            connection.execute(mine.values(**_PLANNED_AGAIN, **later))
    except IntegrityError:
        connection.execute(
            mine.values(state=ActionState.CANCELLED, result="planned anew meanwhile")
        )


def bring_forward(
    connection: Connection, case_ids: Sequence[str], kind: ActionKind, *, at: datetime
) -> None:
    """What is planned of that kind for later is due at `at`."""
    connection.execute(
        update(actions)
        .where(actions.c.case_id.in_(case_ids), actions.c.kind == kind)
        .where(actions.c.state == ActionState.PLANNED, actions.c.due_at > at)
        .values(due_at=at)
    )


def look_at_what_was_left(connection: Connection) -> None:
    """Look at once at the living cases that were not taken over while the engine was paused."""
    connection.execute(
        update(actions)
        .where(actions.c.case_id == cases.c.id, cases.c.state != "closed")
        .where(cases.c.mode == Mode.TAKEOVER, ~cases.c.taken_over)
        .where(actions.c.kind == ActionKind.REFRESH, actions.c.state == ActionState.PLANNED)
        .values(due_at=func.least(actions.c.due_at, cases.c.opened_at))
    )


def planned_retry(connection: Connection, case_id: str) -> Action | None:
    """The charge that is planned or just being carried out."""
    statement = select(*_COLUMNS).where(
        actions.c.case_id == case_id,
        actions.c.kind == ActionKind.RETRY,
        actions.c.state.in_((ActionState.PLANNED, ActionState.CLAIMED)),
    )
    row = connection.execute(statement).mappings().first()
    return None if row is None else Action(**row)


def planned_retries(connection: Connection, case_ids: list[str]) -> dict[str, Action]:
    """The same for many cases at once."""
    statement = select(*_COLUMNS).where(
        actions.c.case_id.in_(case_ids),
        actions.c.kind == ActionKind.RETRY,
        actions.c.state.in_((ActionState.PLANNED, ActionState.CLAIMED)),
    )
    found = (Action(**row) for row in connection.execute(statement).mappings())
    return {action.case_id: action for action in found}


def charges_on_card(connection: Connection, case: Case, method_id: str) -> list[CardCharge]:
    """What is planned on that card for any invoice of the case's customer, its own included."""
    found = _ON_CARD.run(
        connection, account=case.account, customer_id=case.customer_id, method_id=method_id
    )
    return [CardCharge(**row) for row in found.mappings()]


def further_messages(connection: Connection, case: Case, *, most: int) -> list[Action]:
    """What is to be said of other open invoices of the case's customer, in their cases' order."""
    found = _FURTHER_MESSAGES.run(
        connection,
        account=case.account,
        customer_id=case.customer_id,
        case_id=case.id,
        mode=case.mode,
        most=most,
    )
    return [Action(**row) for row in found.mappings()]


def counts(connection: Connection, *, now: datetime, shut: bool) -> Counts:
    """The schedule in figures; what waits for a paused or `shut` engine counts as planned."""
    row = connection.execute(_COUNTS, {"now": now, "shut": shut}).one()
    return Counts(
        due=int(row.due),
        in_flight=row.in_flight,
        planned=row.planned - int(row.due),
        next_due_at=row.next_due_at,
    )
