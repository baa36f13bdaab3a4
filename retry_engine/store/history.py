"""What happened: attempts by anybody, payment methods as last read, disputes, decisions."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import takewhile
from typing import Any

from sqlalchemy import (
    ARRAY,
    Connection,
    Row,
    Text,
    and_,
    any_,
    bindparam,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from retry_engine.domain import codes
from retry_engine.domain.attempts import Attempt, Outcome, Source
from retry_engine.domain.decisions import Decision
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.store.prepared import Prepared, change_by_id
from retry_engine.store.tables import (
    attempts,
    cases,
    decisions,
    overrides,
    payment_methods,
    risk_flags,
)

# -- attempts


_NOT_ABANDONED = ~attempts.c.abandoned
_OF_CASE = Prepared(
    select(attempts)
    .where(attempts.c.case_id == bindparam("case_id"), _NOT_ABANDONED)
    .order_by(attempts.c.at, attempts.c.id)
)
_ON_CARDS = Prepared(
    select(attempts)
    .where(
        or_(
            attempts.c.at >= bindparam("since"),
            # what a number is banned for does not grow old
            attempts.c.decline_code == any_(bindparam("banned", type_=ARRAY(Text))),
            attempts.c.network_decline_code == any_(bindparam("banned", type_=ARRAY(Text))),
            attempts.c.network_advice_code == any_(bindparam("banned", type_=ARRAY(Text))),
        ),
        _NOT_ABANDONED,
    )
    .where(or_(attempts.c.case_id.is_(None), attempts.c.case_id != bindparam("case_id")))
    .where(
        or_(
            attempts.c.card_fingerprint == any_(bindparam("fingerprints", type_=ARRAY(Text))),
            attempts.c.payment_method_id == any_(bindparam("method_ids", type_=ARRAY(Text))),
            and_(
                attempts.c.account == bindparam("account"),
                attempts.c.customer_id == bindparam("customer_id"),
            ),
        )
    )
    .order_by(attempts.c.at)
)
# How the error of an intent begins whose outcome nobody is left to tell.
GIVEN_UP = "cannot be found out any more"
_INTENT = ("id", "at", "payment_method_id", "idempotency_key")
# What of a request may still happen at Stripe after we began it: our own limit on its answer is far
# shorter, and Stripe does not hold one for longer.
ON_ITS_WAY = timedelta(minutes=3)
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


def add_attempt(connection: Connection, **values: Any) -> None:
    """Insert an attempt."""
    _insert(tuple(sorted(values))).run(connection, **values)


def add_charge(connection: Connection, **values: Any) -> None:
    """Insert the attempt that a charge was; recorded beside us already, it becomes its case's."""
    statement = insert(attempts).values(**values)
    adopted = func.coalesce(attempts.c.case_id, statement.excluded.case_id)
    connection.execute(
        statement.on_conflict_do_update(constraint="attempts_charge", set_={"case_id": adopted})
    )


@lru_cache(maxsize=64)
def _insert(names: tuple[str, ...]) -> Prepared:
    return Prepared(attempts.insert().values({name: bindparam(name) for name in names}))


@lru_cache(maxsize=8)
def _insert_intent(names: tuple[str, ...]) -> Prepared:
    return Prepared(
        attempts.insert()
        .values({name: bindparam(name) for name in names})
        .returning(*(attempts.c[name] for name in _INTENT))
    )


def add_intent(connection: Connection, **values: Any) -> Row[Any]:
    """Insert the engine's attempt; its id, time, method and key."""
    return _insert_intent(tuple(sorted(values))).run(connection, **values).one()


def lock_card(connection: Connection, account: str, method_id: str | None) -> None:
    """One transaction at a time commits an intent on that card, whichever invoice it is for."""
    query = text(
        "select pg_advisory_xact_lock(hashtextextended(coalesce((select card_fingerprint"
        " from payment_methods where account = :account and id = :method), :method, ''), 7))"
    )
    connection.execute(query, {"account": account, "method": method_id})


def may_send(connection: Connection, attempt_id: int, *, at: datetime) -> str | None:
    """Why a request that charges may not be begun now; None: it may, and counts as on its way.

    It is said in the database, in the transaction that reads the switch, the case's state and the
    intent, and on the connection that holds the case's lock: see `recovery.fence`.
    """
    values = {"attempt_id": attempt_id, "at": at, "on_its_way": ON_ITS_WAY}
    found: str | None = _MAY_SEND.run(connection, **values).scalar_one()
    return found


def on_their_way(connection: Connection, case_id: str | None = None) -> list[Row[Any]]:
    """Charges whose request may still reach Stripe and whose outcome nobody has written yet."""
    return list(_ON_THEIR_WAY.run(connection, case_id=case_id))


def change_attempt(connection: Connection, attempt_id: int, **values: Any) -> None:
    """Write what became known of an attempt."""
    change_by_id(connection, attempts, attempt_id, values)


def attempt_rows(connection: Connection, case_id: str) -> list[Row[Any]]:
    """The case's attempts by anybody, oldest first, without those that never reached Stripe."""
    return list(_OF_CASE.run(connection, case_id=case_id))


def attempt_with_key(connection: Connection, idempotency_key: str) -> Row[Any] | None:
    """The engine's attempt of that key."""
    return connection.execute(
        select(attempts).where(attempts.c.idempotency_key == idempotency_key)
    ).first()


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


def open_intent(connection: Connection, case_id: str) -> Row[Any] | None:
    """The engine's attempt whose outcome nobody knows yet."""
    statement = select(attempts).where(
        attempts.c.case_id == case_id,
        attempts.c.source == Source.ENGINE,
        attempts.c.outcome == Outcome.UNKNOWN,
        ~attempts.c.abandoned,
    )
    return connection.execute(statement).first()


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
) -> Row[Any]:
    """`unknown`: an intent of the engine is open; `processing`: an attempt of anybody's is.

    And of the method: `method_known`, and its `card_fingerprint`, `card_exp_year` and
    `card_exp_month` as last read.
    """
    values = {"case_id": case_id, "account": account, "method_id": method_id}
    return _BEFORE_CHARGING.run(connection, **values).one()


def known_charges(
    connection: Connection, account: str, charge_ids: Sequence[str]
) -> dict[str, Any]:
    """Rows of those charges that are recorded, by charge id."""
    statement = select(attempts).where(
        attempts.c.account == account, attempts.c.charge_id.in_(charge_ids)
    )
    return {row.charge_id: row for row in connection.execute(statement)}


def last_attempt_on(connection: Connection, account: str, method_id: str) -> datetime | None:
    """When that payment method was last tried, by anybody and for any invoice."""
    statement = select(func.max(attempts.c.at)).where(
        attempts.c.account == account, attempts.c.payment_method_id == method_id
    )
    return connection.execute(statement).scalar()


def last_on_card(
    connection: Connection,
    account: str,
    method_id: str,
    fingerprint: str | None,
    *,
    until: datetime,
) -> Row[Any] | None:
    """Anybody's newest attempt on that method or on the card behind it, for any invoice."""
    on_method = and_(attempts.c.account == account, attempts.c.payment_method_id == method_id)
    on_card = or_(on_method, attempts.c.card_fingerprint == fingerprint)
    statement = (
        select(attempts)
        .where(on_method if fingerprint is None else on_card)
        .where(attempts.c.at <= until, _NOT_ABANDONED)
        .order_by(attempts.c.at.desc(), attempts.c.id.desc())
        .limit(1)
    )
    return connection.execute(statement).first()


def nameless_attempts(connection: Connection, account: str, customer_id: str) -> list[Row[Any]]:
    """The engine's attempts on the customer that have, or may have, a charge nobody has named."""
    statement = select(attempts).where(
        attempts.c.account == account,
        attempts.c.customer_id == customer_id,
        attempts.c.source == Source.ENGINE,
        attempts.c.outcome.in_((Outcome.SUCCEEDED, Outcome.PROCESSING, Outcome.UNKNOWN)),
        attempts.c.charge_id.is_(None),
        _NOT_ABANDONED,
    )
    return list(connection.execute(statement))


def card_attempts(
    connection: Connection,
    *,
    case_id: str,
    account: str,
    customer_id: str,
    method_ids: Sequence[str],
    fingerprints: Sequence[str],
    since: datetime,
) -> list[Row[Any]]:
    """Everybody's attempts on those cards, or of that customer, for other invoices, in time.

    From `since` on; those by which a number was banned for good, whenever.
    """
    found = _ON_CARDS.run(
        connection,
        since=since,
        case_id=case_id,
        account=account,
        customer_id=customer_id,
        fingerprints=list(fingerprints),
        method_ids=list(method_ids),
        banned=codes.banning(),
    )
    return list(found)


def imported_attempt(row: Mapping[str, Any]) -> Attempt:
    """An attempt of an imported log."""
    expiry = row.get("card_exp")
    return Attempt(
        at=datetime.fromisoformat(row["at"]),
        source=Source(row.get("source", "stripe")),
        outcome=Outcome(row["outcome"]),
        amount=int(row["amount"]),
        currency=row["currency"],
        invoice_id=row["invoice_id"],
        payment_method_id=row.get("payment_method_id"),
        method_type=row.get("method_type", "card"),
        card_exp=(int(expiry[:4]), int(expiry[5:7])) if expiry else None,
        **{
            name: row.get(name)
            for name in (
                "card_brand",
                "card_country",
                "card_fingerprint",
                "decline_code",
                "advice_code",
                "network_advice_code",
                "network_decline_code",
                "risk_level",
            )
        },
    )


def as_attempt(row: Row[Any], *, invoice_id: str) -> Attempt:
    """The domain's view of a row."""
    return Attempt(
        at=row.at,
        source=Source(row.source),
        outcome=Outcome(row.outcome),
        amount=row.amount,
        currency=row.currency,
        invoice_id=invoice_id,
        payment_method_id=row.payment_method_id,
        method_type=row.method_type,
        card_brand=row.card_brand,
        card_country=row.card_country,
        card_fingerprint=row.card_fingerprint,
        card_exp=_expiry(row),
        decline_code=row.decline_code,
        advice_code=row.advice_code,
        network_advice_code=row.network_advice_code,
        network_decline_code=row.network_decline_code,
        outcome_type=row.outcome_type,
        outcome_reason=row.outcome_reason,
        risk_level=row.risk_level,
        charge_id=row.charge_id,
        idempotency_key=row.idempotency_key,
    )


# -- payment methods

_ATTACHED = Prepared(
    select(payment_methods).where(
        payment_methods.c.account == bindparam("account"),
        payment_methods.c.customer_id == bindparam("customer_id"),
        payment_methods.c.detached_at.is_(None),
    )
)


def methods(
    connection: Connection, account: str, customer_id: str, *, default_id: str | None
) -> tuple[PaymentMethod, ...]:
    """The customer's attached methods, the default first."""
    attached = _ATTACHED.run(connection, account=account, customer_id=customer_id)
    found = [_as_method(row, default_id) for row in attached]
    return tuple(sorted(found, key=lambda m: (not m.is_default, m.id)))


def method_row(connection: Connection, account: str, method_id: str) -> Row[Any] | None:
    """One method, detached ones included."""
    return connection.execute(
        select(payment_methods).where(
            payment_methods.c.account == account, payment_methods.c.id == method_id
        )
    ).first()


def put_method(connection: Connection, **values: Any) -> None:
    """Insert or overwrite a method."""
    statement = insert(payment_methods).values(**values)
    changes = {k: v for k, v in values.items() if k not in ("account", "id")}
    connection.execute(
        statement.on_conflict_do_update(index_elements=["account", "id"], set_=changes)
    )


def change_method(connection: Connection, account: str, method_id: str, **values: Any) -> None:
    """Set columns of one method."""
    connection.execute(
        update(payment_methods)
        .where(payment_methods.c.account == account, payment_methods.c.id == method_id)
        .values(**values)
    )


def detach_missing(
    connection: Connection, account: str, customer_id: str, *, present: Sequence[str], at: datetime
) -> int:
    """Mark what Stripe no longer lists; how many that were."""
    result = connection.execute(
        update(payment_methods)
        .where(payment_methods.c.account == account, payment_methods.c.customer_id == customer_id)
        .where(payment_methods.c.detached_at.is_(None), payment_methods.c.id.not_in(present))
        .values(detached_at=at)
    )
    return int(result.rowcount)


def _expiry(row: Row[Any]) -> tuple[int, int] | None:
    if row.card_exp_year is None or row.card_exp_month is None:
        return None
    return row.card_exp_year, row.card_exp_month


def _as_method(row: Row[Any], default_id: str | None) -> PaymentMethod:
    return PaymentMethod(
        id=row.id,
        type=row.type,
        card_brand=row.card_brand,
        card_funding=row.card_funding,
        card_country=row.card_country,
        card_exp=_expiry(row),
        card_fingerprint=row.card_fingerprint,
        is_default=row.id == default_id,
        added_at=row.added_at,
        changed_at=row.changed_at,
        authenticated_at=row.authenticated_at,
        mandate_active=row.mandate_active,
        blocked_reason=row.blocked_reason,
    )


# -- disputes and early fraud warnings


def add_flag(connection: Connection, **values: Any) -> None:
    """Remember a dispute or warning, once."""
    connection.execute(insert(risk_flags).values(**values).on_conflict_do_nothing())


def standing_flags(
    connection: Connection, account: str, customer_id: str, *, since: datetime
) -> list[Row[Any]]:
    """Disputes and warnings of the customer from `since` on that no person has cleared, in time."""
    statement = (
        select(risk_flags)
        .where(risk_flags.c.account == account, risk_flags.c.customer_id == customer_id)
        .where(risk_flags.c.at >= since, risk_flags.c.cleared_at.is_(None))
        .order_by(risk_flags.c.at, risk_flags.c.object_id)
    )
    return list(connection.execute(statement))


def clear_flags(
    connection: Connection, account: str, object_ids: Sequence[str], *, at: datetime
) -> None:
    """A person has looked at these: they hold no case back any more."""
    connection.execute(
        update(risk_flags)
        .where(risk_flags.c.account == account, risk_flags.c.object_id.in_(object_ids))
        .where(risk_flags.c.cleared_at.is_(None))
        .values(cleared_at=at)
    )


# -- decisions and overrides


def add_decision(
    connection: Connection,
    *,
    case_id: str,
    at: datetime,
    decision: Decision,
    policy_version: str,
    inputs: Mapping[str, Any],
) -> int:
    """Store a decision with what it was made from; its row's id."""
    statement = (
        decisions.insert()
        .values(
            case_id=case_id,
            at=at,
            kind=decision.kind,
            retry_at=decision.retry_at,
            payment_method_id=decision.payment_method_id,
            success_probability=decision.success_probability,
            expected_value=decision.expected_value,
            propensity=decision.propensity,
            policy_version=policy_version,
            model_version=decision.model_version,
            inputs=inputs,
            inputs_hash=hash_of(inputs),
            candidates=[_plain(asdict(c)) for c in decision.candidates],
            reasons=[asdict(r) for r in decision.reasons],
            message_at=decision.message_at,
            message_kind=decision.message_kind,
            discount=decision.discount,
            offer_propensity=decision.offer_propensity,
        )
        .returning(decisions.c.id)
    )
    return int(connection.execute(statement).scalar_one())


def mark_carried_out(connection: Connection, decision_id: int) -> None:
    """The decision became an attempt."""
    connection.execute(
        update(decisions).where(decisions.c.id == decision_id).values(carried_out=True)
    )


def decision(connection: Connection, decision_id: int) -> Row[Any] | None:
    """One decision."""
    return connection.execute(select(decisions).where(decisions.c.id == decision_id)).first()


def last_decision(connection: Connection, case_id: str) -> Row[Any] | None:
    """The newest decision of a case."""
    return connection.execute(
        select(decisions)
        .where(decisions.c.case_id == case_id)
        .order_by(decisions.c.id.desc())
        .limit(1)
    ).first()


def decision_rows(connection: Connection, case_id: str) -> list[Row[Any]]:
    """All decisions of a case, oldest first."""
    statement = select(decisions).where(decisions.c.case_id == case_id).order_by(decisions.c.id)
    return list(connection.execute(statement))


def add_override(connection: Connection, **values: Any) -> int:
    """Record what a person did."""
    statement = overrides.insert().values(**values).returning(overrides.c.id)
    return int(connection.execute(statement).scalar_one())


def override_rows(connection: Connection, case_id: str) -> list[Row[Any]]:
    """What people did to a case, oldest first."""
    statement = select(overrides).where(overrides.c.case_id == case_id).order_by(overrides.c.id)
    return list(connection.execute(statement))


def hash_of(inputs: Mapping[str, Any]) -> str:
    """A short name for what a decision was made from."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in values.items()}


# -- figures


def shares_by_type(
    connection: Connection, country: str | None, *, most: int
) -> dict[str, tuple[int, int]]:
    """By method type (succeeded, tried) of the newest `most` settled attempts, in that country."""
    newest = (
        select(attempts.c.method_type, attempts.c.outcome, cases.c.customer_country)
        .join(cases, cases.c.id == attempts.c.case_id)
        .where(attempts.c.outcome.in_(("succeeded", "failed")), ~attempts.c.abandoned)
        .order_by(attempts.c.id.desc())
        .limit(most)
        .subquery()
    )
    won = func.count().filter(newest.c.outcome == "succeeded")
    query = (
        select(newest.c.method_type, won, func.count())
        .where(newest.c.customer_country.is_not_distinct_from(country))
        .group_by(newest.c.method_type)
    )
    return {kind: (good, tried) for kind, good, tried in connection.execute(query)}


def last_decline_code(connection: Connection, case_id: str) -> str | None:
    """Why the newest failed attempt of the case failed."""
    query = (
        select(attempts.c.decline_code)
        .where(attempts.c.case_id == case_id, attempts.c.outcome != "succeeded")
        .order_by(attempts.c.at.desc(), attempts.c.id.desc())
        .limit(1)
    )
    return connection.execute(query).scalar()


def attempt_counts(connection: Connection) -> list[tuple[str, str, int]]:
    """(source, outcome, count) over all cases."""
    statement = (
        select(attempts.c.source, attempts.c.outcome, func.count())
        .where(~attempts.c.abandoned, attempts.c.case_id.is_not(None))
        .group_by(attempts.c.source, attempts.c.outcome)
    )
    return [(row[0], row[1], row[2]) for row in connection.execute(statement)]


def engine_attempts(connection: Connection, case_ids: Sequence[str]) -> dict[str, int]:
    """How many attempts of its own the engine made, by case."""
    statement = (
        select(attempts.c.case_id, func.count())
        .where(attempts.c.case_id.in_(case_ids), attempts.c.source == Source.ENGINE)
        .where(~attempts.c.abandoned)
        .group_by(attempts.c.case_id)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def processing_attempts(connection: Connection, case_id: str) -> int:
    """How many asynchronous payments of the case are still under way."""
    statement = (
        select(func.count())
        .select_from(attempts)
        .where(
            and_(
                attempts.c.case_id == case_id,
                attempts.c.outcome == Outcome.PROCESSING,
                ~attempts.c.abandoned,
            )
        )
    )
    return int(connection.execute(statement).scalar_one())


def invariant_breaches(connection: Connection) -> dict[str, int]:
    """Truths that must hold at any moment, each counted: 0 everywhere, or somebody must look."""
    queries = {
        "two_successes_on_one_invoice": (
            "select count(*) from (select case_id from attempts where outcome = 'succeeded'"
            " and source = 'engine' group by case_id having count(*) > 1) t"
        ),
        "retry_planned_on_a_case_that_is_not_open": (
            "select count(*) from actions a join cases c on c.id = a.case_id"
            " where a.kind = 'retry' and a.state = 'planned' and c.state <> 'open'"
        ),
        "discount_on_an_invoice_that_was_not_paid_in_time": (
            "select count(*) from offers o join cases c on c.id = o.case_id"
            " where o.state in ('taking', 'taken', 'ending') and o.ended_at is null"
            " and not exists (select from actions a where a.case_id = o.case_id"
            " and a.kind in ('offer', 'offer_end')"
            " and a.state in ('planned', 'claimed'))"
            " and c.close_reason is distinct from 'recovered_by_engine'"
            " and c.close_reason is distinct from 'recovered_elsewhere'"
        ),
        "living_case_without_anything_planned": (
            "select count(*) from cases c where c.state in ('open', 'processing', 'needs_customer')"
            " and not exists (select from actions a where a.case_id = c.id"
            " and a.state in ('planned', 'claimed'))"
        ),
    }
    return {
        name: int(connection.execute(text(query)).scalar_one()) for name, query in queries.items()
    }


def case_ids_of_method(connection: Connection, account: str, method_id: str) -> list[str]:
    """Living cases of the customer who has, or had, that payment method."""
    statement = (
        select(cases.c.id)
        .join(
            payment_methods,
            and_(
                payment_methods.c.account == cases.c.account,
                payment_methods.c.customer_id == cases.c.customer_id,
            ),
        )
        .where(payment_methods.c.account == account, payment_methods.c.id == method_id)
        .where(cases.c.state != "closed")
        .order_by(cases.c.id)
    )
    return list(connection.execute(statement).scalars())


def case_ids_of_card(connection: Connection, account: str, fingerprint: str) -> list[str]:
    """Living cases of whoever has that card saved."""
    statement = (
        select(cases.c.id)
        .join(
            payment_methods,
            and_(
                payment_methods.c.account == cases.c.account,
                payment_methods.c.customer_id == cases.c.customer_id,
            ),
        )
        .where(cases.c.account == account, cases.c.state != "closed")
        .where(payment_methods.c.card_fingerprint == fingerprint)
        .where(payment_methods.c.detached_at.is_(None))
        .distinct()
        .order_by(cases.c.id)
    )
    return list(connection.execute(statement).scalars())
