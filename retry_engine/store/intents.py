"""The engine's own charges: the intent committed before each, and what becomes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from sqlalchemy import Connection, bindparam, func, select, text, update

from retry_engine.domain.attempts import Outcome, Source
from retry_engine.store.attempts import AttemptRow
from retry_engine.store.prepared import Prepared
from retry_engine.store.tables import attempts
from retry_engine.store.typed_rows import Reader

# How the error of an intent begins whose outcome nobody is left to tell.
GIVEN_UP = "cannot be found out any more"
# What of a request may still happen at Stripe after we began it: our own limit on its answer is far
# shorter, and Stripe does not hold one for longer.
ON_ITS_WAY = timedelta(minutes=3)
_IS_OPEN = (
    attempts.c.source == Source.ENGINE,
    attempts.c.outcome == Outcome.UNKNOWN,
    ~attempts.c.abandoned,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewIntent:
    """A charge of the engine as it is committed; the fields are columns of `tables.attempts`."""

    account: str
    customer_id: str
    case_id: str
    sequence: int
    at: datetime
    sent_at: datetime
    amount: int
    currency: str
    payment_method_id: str
    method_type: str
    card_brand: str | None
    card_country: str | None
    card_fingerprint: str | None
    card_exp_year: int | None
    card_exp_month: int | None
    payment_intent_id: str | None
    idempotency_key: str
    action_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """An attempt of the engine whose outcome nobody knows yet.

    `sent_at` is the real time of the first request under `idempotency_key`, `last_sent_at` of the
    newest; None: none was begun.
    """

    id: int
    case_id: str
    at: datetime
    sent_at: datetime
    last_sent_at: datetime | None
    resolved_at: datetime | None
    source: Source
    outcome: Outcome
    payment_method_id: str
    payment_intent_id: str | None
    decline_code: str | None
    charge_id: str | None
    idempotency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OnItsWay:
    """A charge whose request may still reach Stripe and whose outcome nobody has written yet."""

    id: int
    case_id: str
    invoice_id: str
    sending_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BeforeCharging:
    """What the record says of a case and a method before the method is charged.

    `unknown`: an intent of the engine is open; `processing`: an attempt of anybody's is. The card's
    data are those of the method as last read, where `method_known`.
    """

    unknown: bool
    processing: bool
    method_known: bool
    card_fingerprint: str | None
    card_exp_year: int | None
    card_exp_month: int | None


_INTENT = Reader(Intent)
_COLUMNS = _INTENT.columns(attempts)
_ROW = Reader(AttemptRow)
_ROW_COLUMNS = _ROW.columns(attempts)
_ON_ITS_WAY = Reader(OnItsWay)
_BEFORE = Reader(BeforeCharging)
_NEW = Reader(NewIntent).names
_ADD = Prepared(
    attempts.insert()
    .values({name: bindparam(name) for name in (*_NEW, "source", "outcome")})
    .returning(*_COLUMNS)
)
_MAY_SEND = Prepared("select may_send(%(attempt_id)s, %(at)s, %(on_its_way)s)")
_ON_THEIR_WAY = Prepared(
    """
    select a.id, a.case_id, c.invoice_id, a.sending_until
      from attempts a join cases c on c.id = a.case_id
      where a.source = 'engine' and a.outcome = 'unknown' and not a.abandoned
        and a.sending_until > clock_timestamp()
        and (%(case_id)s::text is null or a.case_id = %(case_id)s)
      order by a.id
    """
)
_BEFORE_CHARGING = Prepared(
    """
    select
      exists (select from attempts where case_id = %(case_id)s and not abandoned
              and source = 'engine' and outcome = 'unknown') as unknown,
      exists (select from attempts where case_id = %(case_id)s and not abandoned
              and outcome = 'processing') as processing,
      method.card_fingerprint, method.card_exp_year, method.card_exp_month,
      method.id is not null as method_known
    from (select) as one left join payment_methods as method
      on method.account = %(account)s and method.id = %(method_id)s
    """
)


def before_charging(
    connection: Connection, *, case_id: str, account: str, method_id: str
) -> BeforeCharging:
    """What stands in the way of a charge by our own record, and the card as we know it."""
    values = {"case_id": case_id, "account": account, "method_id": method_id}
    return _BEFORE.one(_BEFORE_CHARGING.run(connection, **values))


def lock_card(connection: Connection, account: str, method_id: str | None) -> None:
    """One transaction at a time commits an intent on that card, whichever invoice it is for."""
    query = text(
        "select pg_advisory_xact_lock(hashtextextended(coalesce((select card_fingerprint"
        " from payment_methods where account = :account and id = :method), :method, ''), 7))"
    )
    connection.execute(query, {"account": account, "method": method_id})


def add(connection: Connection, new: NewIntent) -> Intent:
    """Insert the intent: from here on its outcome is unknown."""
    values = {name: getattr(new, name) for name in _NEW}
    result = _ADD.run(connection, **values, source=Source.ENGINE, outcome=Outcome.UNKNOWN)
    return _INTENT.one(result)


def may_send(connection: Connection, attempt_id: int, *, at: datetime) -> str | None:
    """Why a request that charges may not be begun now; None: it may, and counts as on its way.

    It is said in the database, in the transaction that reads the switch, the case's state and the
    intent, and on the connection that holds the case's lock: see `recovery.fence`.
    """
    values = {"attempt_id": attempt_id, "at": at, "on_its_way": ON_ITS_WAY}
    found: str | None = _MAY_SEND.run(connection, **values).scalar_one()
    return found


def on_their_way(connection: Connection, case_id: str | None = None) -> list[OnItsWay]:
    """Charges whose request may still reach Stripe and whose outcome nobody has written yet."""
    return _ON_ITS_WAY.all(_ON_THEIR_WAY.run(connection, case_id=case_id))


def open_in(connection: Connection, case_id: str) -> Intent | None:
    """The case's intent whose outcome nobody knows yet."""
    statement = select(*_COLUMNS).where(attempts.c.case_id == case_id, *_IS_OPEN)
    return _INTENT.first(connection.execute(statement))


def give_up(connection: Connection, account: str, *, why: str, case_id: str | None = None) -> None:
    """Nobody is left who could tell what came of these charges: that stays unknown, and is said."""
    statement = update(attempts).where(attempts.c.account == account, *_IS_OPEN)
    if case_id is not None:
        statement = statement.where(attempts.c.case_id == case_id)
    connection.execute(statement.values(error=f"{GIVEN_UP}: {why}"[:500]))


def given_up(connection: Connection, account: str) -> list[str]:
    """Cases of the account with such a charge."""
    statement = select(attempts.c.case_id).where(
        attempts.c.account == account,
        attempts.c.case_id.is_not(None),
        attempts.c.error.startswith(GIVEN_UP, autoescape=True),
        *_IS_OPEN,
    )
    return list(connection.execute(statement).scalars())


def with_key(connection: Connection, idempotency_key: str) -> AttemptRow | None:
    """The engine's attempt of that key."""
    statement = select(*_ROW_COLUMNS).where(attempts.c.idempotency_key == idempotency_key)
    return _ROW.first(connection.execute(statement))


def nameless(connection: Connection, account: str, customer_id: str) -> list[AttemptRow]:
    """The engine's attempts on the customer that have, or may have, a charge nobody has named."""
    statement = select(*_ROW_COLUMNS).where(
        attempts.c.account == account,
        attempts.c.customer_id == customer_id,
        attempts.c.source == Source.ENGINE,
        attempts.c.outcome.in_((Outcome.SUCCEEDED, Outcome.PROCESSING, Outcome.UNKNOWN)),
        attempts.c.charge_id.is_(None),
        ~attempts.c.abandoned,
    )
    return _ROW.all(connection.execute(statement))


def abandoned_in_a_row(connection: Connection, case_id: str) -> int:
    """How many of the engine's newest requests came to nothing, counted back to one that did not.

    What was stopped before its request began (a brake, a dead worker) says nothing of the case.
    """
    statement = (
        select(attempts.c.abandoned)
        .where(attempts.c.case_id == case_id, attempts.c.source == Source.ENGINE)
        .where(attempts.c.sending_until.is_not(None))
        .order_by(attempts.c.id.desc())
        .limit(10)
    )
    return sum(1 for _ in takewhile(bool, connection.execute(statement).scalars()))


def count_by_case(connection: Connection, case_ids: Sequence[str]) -> dict[str, int]:
    """How many attempts of its own the engine made, by case."""
    statement = (
        select(attempts.c.case_id, func.count())
        .where(attempts.c.case_id.in_(case_ids), attempts.c.source == Source.ENGINE)
        .where(~attempts.c.abandoned)
        .group_by(attempts.c.case_id)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}
