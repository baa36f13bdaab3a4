"""Reading and writing case rows. Who may change a case's state stands in `recovery.cases`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    CursorResult,
    and_,
    bindparam,
    func,
    or_,
    select,
    true,
    tuple_,
    union,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from retry_engine.domain.case_states import CaseState, CloseReason
from retry_engine.domain.errors import BadRequest, NotFound
from retry_engine.domain.modes import Mode
from retry_engine.store.prepared import Prepared, change_by_id
from retry_engine.store.tables import (
    attempts,
    case_transitions,
    cases,
    clocks,
    engine_state,
    renewals,
)
from retry_engine.store.typed_rows import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A recovery case's row; the fields are the columns of `tables.cases`."""

    id: str
    account: str
    invoice_id: str
    customer_id: str
    subscription_id: str | None
    payment_intent_id: str | None
    state: CaseState
    mode: Mode
    policy_version: str
    amount_at_open: int
    amount_remaining: int
    amount_recovered: int
    amount_paid_at_open: int
    currency: str
    test_clock: str | None
    opened_at: datetime
    deadline_at: datetime
    closed_at: datetime | None
    close_reason: CloseReason | None
    billing_reason: str | None
    billing_interval: str | None
    invoice_created_at: datetime | None
    customer_country: str | None
    customer_timezone: str | None
    customer_since: datetime | None
    stripe_next_attempt_at: datetime | None
    taken_over: bool
    default_method_id: str | None
    enriched: bool
    pause_cause: str | None
    attempt_sequence: int
    auto_advance_found: bool | None
    charges_read_at: datetime | None

    @property
    def is_living(self) -> bool:
        """Not closed."""
        return self.state is not CaseState.CLOSED


_READER = Reader(Case)
_COLUMNS = _READER.columns(cases)
_NAMES = _READER.names
_READ = Prepared(select(*_COLUMNS).where(cases.c.id == bindparam("case_id")))
# "no key": rows that merely refer to the case can still be written beside it
_GET = Prepared(
    select(*_COLUMNS).where(cases.c.id == bindparam("case_id")).with_for_update(key_share=True)
)
_GET_WITH_SWITCH = Prepared(
    select(*_COLUMNS, engine_state.c.paused.label("engine_is_paused"))
    .select_from(cases.join(engine_state, true()))
    .where(cases.c.id == bindparam("case_id"))
    .with_for_update(key_share=True, of=cases)
)
# Not the schedule: what a case's trigger changes there may not be changed beside it.
_ENDED = ", ".join(_NAMES)
_PAID = ", ".join(f"'{reason}'" for reason in CloseReason if reason.is_paid)
_NOTHING_OWED = f"{_PAID}, '{CloseReason.VOIDED}'"
_END = Prepared(
    f"""
    with withdrawn as (
      update reviews set state = 'withdrawn', decided_at = %(at)s, verdict_reason = %(because)s
        where case_id = %(case_id)s and state = 'open'
    ), recorded as (
      insert into case_transitions (case_id, at, name, from_state, to_state, cause, by)
        values (%(case_id)s, %(at)s, %(name)s, %(source)s, %(target)s, %(cause)s, %(by)s)
    )
    update cases set state = %(target)s, closed_at = %(at)s, close_reason = %(reason)s,
        amount_recovered = amount_recovered
          + case when %(reason)s in ({_PAID}) then amount_remaining else 0 end,
        amount_remaining =
          case when %(reason)s in ({_NOTHING_OWED}) then 0 else amount_remaining end
      where id = %(case_id)s returning {_ENDED}
    """  # noqa: S608  # the names of our own columns
)


def _one(connection: Connection, statement: Any) -> Case | None:
    return _case(connection.execute(statement))


def _case(result: CursorResult[Any]) -> Case | None:
    return _READER.first(result)


def find(connection: Connection, ref: str) -> Case:
    """By the case's id or the invoice's.

    Raises:
        NotFound: there is no such case.
    """
    if ref.startswith("in_"):
        statement = select(*_COLUMNS).where(cases.c.invoice_id == ref)
        case = _one(connection, statement.order_by(cases.c.opened_at.desc()))
    else:
        case = _case(_READ.run(connection, case_id=ref))
    if case is None:
        raise NotFound(f"no case {ref!r}; expected a case id (case_…) or an invoice id (in_…)")
    return case


def get(connection: Connection, case_id: str) -> Case:
    """By id, locked against other writers until the transaction ends."""
    case = _case(_GET.run(connection, case_id=case_id))
    if case is None:
        raise NotFound(f"no case {case_id!r}")
    return case


def get_with_switch(connection: Connection, case_id: str) -> tuple[Case, bool]:
    """By id, locked as by `get`; and whether the engine is paused."""
    row = _GET_WITH_SWITCH.run(connection, case_id=case_id).mappings().first()
    if row is None:
        raise NotFound(f"no case {case_id!r}")
    return _READER.read(row), bool(row["engine_is_paused"])


def of_invoice(connection: Connection, account: str, invoice_id: str) -> Case | None:
    """The case of an invoice, closed ones included."""
    return _one(
        connection,
        select(*_COLUMNS).where(cases.c.account == account, cases.c.invoice_id == invoice_id),
    )


def living_ids(
    connection: Connection,
    account: str,
    *,
    customer_id: str | None = None,
    subscription_id: str | None = None,
    payment_intent_id: str | None = None,
    test_clock: str | None = None,
) -> list[str]:
    """Ids of the living cases of that one; without any, all of the account."""
    statement = select(cases.c.id).where(
        cases.c.account == account, cases.c.state != CaseState.CLOSED
    )
    if customer_id is not None:
        statement = statement.where(cases.c.customer_id == customer_id)
    if subscription_id is not None:
        statement = statement.where(cases.c.subscription_id == subscription_id)
    if payment_intent_id is not None:
        statement = statement.where(cases.c.payment_intent_id == payment_intent_id)
    if test_clock is not None:
        statement = statement.where(cases.c.test_clock == test_clock)
    return list(connection.execute(statement.order_by(cases.c.id)).scalars())


def last_with_method(
    connection: Connection,
    account: str,
    customer_id: str,
    *,
    subscription_id: str,
    method_id: str,
    fingerprint: str | None,
    until: datetime,
) -> Case | None:
    """The customer's newest case with an attempt on that method; the subscription's own first."""
    on_method = attempts.c.payment_method_id == method_id
    on_card = or_(on_method, attempts.c.card_fingerprint == fingerprint)
    tried = (
        select(attempts.c.case_id)
        .where(attempts.c.case_id == cases.c.id, ~attempts.c.abandoned, attempts.c.at <= until)
        .where(on_method if fingerprint is None else on_card)
    )
    statement = (
        select(*_COLUMNS)
        .where(cases.c.account == account, cases.c.customer_id == customer_id)
        .where(cases.c.opened_at <= until, tried.exists())
        .order_by(
            cases.c.subscription_id.is_not_distinct_from(subscription_id).desc(),
            cases.c.opened_at.desc(),
        )
    )
    return _one(connection, statement.limit(1))


def living_modes(connection: Connection) -> dict[Mode, int]:
    """How many living cases were opened in each mode."""
    statement = select(cases.c.mode, func.count()).where(cases.c.state != CaseState.CLOSED)
    found = connection.execute(statement.group_by(cases.c.mode))
    return {Mode(mode): count for mode, count in found}


def create(connection: Connection, **values: Any) -> Case | None:
    """A new row, or None where the invoice has a case already."""
    statement = (
        insert(cases)
        .values(**values)
        .on_conflict_do_nothing(index_elements=["account", "invoice_id"])
        .returning(*_COLUMNS)
    )
    return _one(connection, statement)


def change(connection: Connection, case_id: str, **values: Any) -> Case:
    """Set columns; returns the row as it is then."""
    case = _case(change_by_id(connection, cases, case_id, values, _NAMES))
    if case is None:
        raise NotFound(f"no case {case_id!r}")
    return case


def end(
    connection: Connection,
    case: Case,
    *,
    at: datetime,
    target: str,
    reason: str,
    because: str,
    cause: str,
    by: str | None,
) -> Case:
    """Close the row, record it, and take back its open review (`because`)."""
    ended = _case(
        _END.run(
            connection,
            case_id=case.id,
            at=at,
            name="closed",
            source=case.state,
            target=target,
            reason=reason,
            because=because,
            cause=cause,
            by=by,
        )
    )
    if ended is None:
        raise NotFound(f"no case {case.id!r}")
    return ended


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionRow:
    """One change of a case's state, and why."""

    at: datetime
    name: str
    from_state: CaseState | None
    to_state: CaseState
    cause: str
    by: str | None


_TRANSITION = Reader(TransitionRow)


def record_transition(connection: Connection, **values: Any) -> int:
    """Append to the case's history of states; the entry's id."""
    statement = case_transitions.insert().values(**values).returning(case_transitions.c.id)
    return int(connection.execute(statement).scalar_one())


def transitions(connection: Connection, case_id: str) -> list[TransitionRow]:
    """The case's history of states, oldest first."""
    statement = (
        select(*_TRANSITION.columns(case_transitions))
        .where(case_transitions.c.case_id == case_id)
        .order_by(case_transitions.c.id)
    )
    return _TRANSITION.all(connection.execute(statement))


def page(
    connection: Connection,
    *,
    state: str | None,
    customer_id: str | None,
    limit: int,
    cursor: str | None,
) -> tuple[list[Case], str | None]:
    """Newest first; the second part is the cursor of the next page, None at the end."""
    statement = select(*_COLUMNS).order_by(cases.c.opened_at.desc(), cases.c.id.desc())
    if state is not None:
        statement = statement.where(cases.c.state == state)
    if customer_id is not None:
        statement = statement.where(cases.c.customer_id == customer_id)
    if cursor is not None:
        after = _one(connection, select(*_COLUMNS).where(cases.c.id == cursor))
        if after is None:
            raise BadRequest(f"unknown cursor {cursor!r}; expected next_cursor of an earlier page")
        statement = statement.where(
            tuple_(cases.c.opened_at, cases.c.id) < tuple_(after.opened_at, after.id)
        )
    rows = _READER.all(connection.execute(statement.limit(limit + 1)))
    more = len(rows) > limit
    return rows[:limit], rows[limit - 1].id if more else None


def counts(connection: Connection) -> dict[CaseState, int]:
    """How many living cases are in each state."""
    statement = (
        select(cases.c.state, func.count())
        .where(cases.c.state != CaseState.CLOSED)
        .group_by(cases.c.state)
    )
    return {CaseState(state): count for state, count in connection.execute(statement)}


def time_of(connection: Connection, case: Case, real_now: datetime) -> datetime:
    """The case's own *now*: its test clock's time, or real time where it has none."""
    if case.test_clock is None:
        return real_now
    return clock_time(connection, case.account, case.test_clock) or real_now


def times_of(
    connection: Connection, case_ids: Sequence[str], real_now: datetime
) -> dict[str, datetime]:
    """The same for many cases, by their ids."""
    on_its_clock = and_(clocks.c.account == cases.c.account, clocks.c.id == cases.c.test_clock)
    statement = (
        select(cases.c.id, func.coalesce(clocks.c.frozen_time, real_now))
        .select_from(cases.outerjoin(clocks, on_its_clock))
        .where(cases.c.id.in_(case_ids))
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def let_go(connection: Connection, account: str, invoice_id: str) -> None:
    """Nothing is owed on the invoice of a closed case any more: nobody has to retry it."""
    connection.execute(
        update(cases)
        .where(cases.c.account == account, cases.c.invoice_id == invoice_id)
        .where(cases.c.state == CaseState.CLOSED, cases.c.taken_over)
        .values(taken_over=False)
    )


def paid_after_all(connection: Connection, account: str, invoice_id: str, *, at: datetime) -> None:
    """The invoice of a case that had ended unpaid was paid, by whomever; its end stays its end."""
    unpaid = [reason for reason in CloseReason if not reason.is_paid]
    connection.execute(
        update(cases)
        .where(cases.c.account == account, cases.c.invoice_id == invoice_id)
        .where(cases.c.close_reason.in_(unpaid), cases.c.paid_late_at.is_(None))
        .values(paid_late_at=at, amount_remaining=0)
    )


def clock_time(connection: Connection, account: str, clock_id: str) -> datetime | None:
    """A test clock's time as last read, or None."""
    statement = select(clocks.c.frozen_time).where(
        clocks.c.account == account, clocks.c.id == clock_id
    )
    return connection.execute(statement).scalar()


def set_clock(
    connection: Connection, account: str, clock_id: str, *, at: datetime, status: str, now: datetime
) -> None:
    """What a test clock was last read as. A clock never goes back; while it advances it stands."""
    statement = insert(clocks).values(
        account=account, id=clock_id, frozen_time=at, status=status, read_at=now
    )
    later = func.greatest(clocks.c.frozen_time, statement.excluded.frozen_time)
    standing = clocks.c.frozen_time if status == "advancing" else later
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["account", "id"],
            set_={"frozen_time": standing, "status": status, "read_at": now},
        )
    )


def watched_clocks(connection: Connection, *, read_before: datetime) -> Sequence[tuple[str, str]]:
    """(account, id) of the clocks that anything waits for and that were not read lately."""
    living = select(cases.c.account, cases.c.test_clock).where(
        cases.c.state != CaseState.CLOSED, cases.c.test_clock.is_not(None)
    )
    warned = select(renewals.c.account, renewals.c.test_clock).where(
        renewals.c.state == "planned", renewals.c.test_clock.is_not(None)
    )
    statement = (
        select(clocks.c.account, clocks.c.id)
        .where(or_(clocks.c.read_at < read_before, clocks.c.status == "advancing"))
        .where(tuple_(clocks.c.account, clocks.c.id).in_(union(living, warned)))
        .order_by(clocks.c.read_at)
        .limit(20)
    )
    return [(row[0], row[1]) for row in connection.execute(statement)]
