"""What happened on cards: attempts by anybody, on invoices that have a case and on others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, TypedDict, Unpack

from sqlalchemy import ARRAY, Connection, Text, and_, any_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from retry_engine.domain import codes
from retry_engine.domain.attempts import Attempt, Outcome, Source
from retry_engine.store.prepared import Prepared, change_by_id
from retry_engine.store.tables import attempts, cases
from retry_engine.store.typed_rows import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """An attempt's row; the fields are the columns of `tables.attempts`.

    `case_id` is None on an invoice that has no case. `abandoned`: proven never to have reached
    Stripe. `sequence`, `sent_at` and `idempotency_key` stand where it was the engine's own.
    """

    id: int
    account: str
    customer_id: str | None
    case_id: str | None
    sequence: int | None
    at: datetime
    sent_at: datetime | None
    last_sent_at: datetime | None
    resolved_at: datetime | None
    source: Source
    outcome: Outcome
    abandoned: bool
    amount: int
    currency: str
    payment_method_id: str | None
    method_type: str
    card_brand: str | None
    card_country: str | None
    card_fingerprint: str | None
    card_exp_year: int | None
    card_exp_month: int | None
    decline_code: str | None
    advice_code: str | None
    network_advice_code: str | None
    network_decline_code: str | None
    outcome_type: str | None
    outcome_reason: str | None
    risk_level: str | None
    charge_id: str | None
    payment_intent_id: str | None
    idempotency_key: str | None
    error: str | None


class ChargeValues(TypedDict, total=False):
    """Columns of an attempt that its charge tells."""

    charge_id: str | None
    outcome: Outcome
    method_type: str
    card_brand: str | None
    card_country: str | None
    card_fingerprint: str | None
    card_exp_year: int | None
    card_exp_month: int | None
    decline_code: str | None
    advice_code: str | None
    network_advice_code: str | None
    network_decline_code: str | None
    outcome_type: str | None
    outcome_reason: str | None
    risk_level: str | None


class AttemptValues(ChargeValues, total=False):
    """Columns of an attempt that may be written."""

    account: str
    customer_id: str | None
    case_id: str | None
    at: datetime
    resolved_at: datetime | None
    source: Source
    abandoned: bool
    amount: int
    currency: str
    payment_method_id: str | None
    payment_intent_id: str | None
    error: str | None


_READER = Reader(AttemptRow)
_COLUMNS = _READER.columns(attempts)
_HAPPENED = ~attempts.c.abandoned
_OF_CASE = Prepared(
    select(*_COLUMNS)
    .where(attempts.c.case_id == bindparam("case_id"), _HAPPENED)
    .order_by(attempts.c.at, attempts.c.id)
)
_ON_CARDS = Prepared(
    select(*_COLUMNS)
    .where(
        or_(
            attempts.c.at >= bindparam("since"),
            # what a number is banned for does not grow old
            attempts.c.decline_code == any_(bindparam("banned", type_=ARRAY(Text))),
            attempts.c.network_decline_code == any_(bindparam("banned", type_=ARRAY(Text))),
            attempts.c.network_advice_code == any_(bindparam("banned", type_=ARRAY(Text))),
        ),
        _HAPPENED,
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


def add(connection: Connection, **values: Unpack[AttemptValues]) -> None:
    """Insert an attempt."""
    _insert(tuple(sorted(values))).run(connection, **values)


def add_charge(connection: Connection, **values: Unpack[AttemptValues]) -> None:
    """Insert the attempt that a charge was; recorded beside us already, it becomes its case's."""
    statement = insert(attempts).values(**values)
    adopted = func.coalesce(attempts.c.case_id, statement.excluded.case_id)
    connection.execute(
        statement.on_conflict_do_update(constraint="attempts_charge", set_={"case_id": adopted})
    )


@lru_cache(maxsize=64)
def _insert(names: tuple[str, ...]) -> Prepared:
    return Prepared(attempts.insert().values({name: bindparam(name) for name in names}))


def change(connection: Connection, attempt_id: int, **values: Unpack[AttemptValues]) -> None:
    """Write what became known of an attempt."""
    change_by_id(connection, attempts, attempt_id, dict(values))


def of_case(connection: Connection, case_id: str) -> list[AttemptRow]:
    """The case's attempts by anybody, oldest first, without those that never reached Stripe."""
    return _READER.all(_OF_CASE.run(connection, case_id=case_id))


def known_charges(
    connection: Connection, account: str, charge_ids: Sequence[str]
) -> dict[str, AttemptRow]:
    """Rows of those charges that are recorded, by charge id."""
    statement = select(*_COLUMNS).where(
        attempts.c.account == account, attempts.c.charge_id.in_(charge_ids)
    )
    found = _READER.all(connection.execute(statement))
    return {row.charge_id: row for row in found if row.charge_id is not None}


def last_on_method(connection: Connection, account: str, method_id: str) -> datetime | None:
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
) -> AttemptRow | None:
    """Anybody's newest attempt on that method or on the card behind it, for any invoice."""
    on_method = and_(attempts.c.account == account, attempts.c.payment_method_id == method_id)
    on_card = or_(on_method, attempts.c.card_fingerprint == fingerprint)
    statement = (
        select(*_COLUMNS)
        .where(on_method if fingerprint is None else on_card)
        .where(attempts.c.at <= until, _HAPPENED)
        .order_by(attempts.c.at.desc(), attempts.c.id.desc())
        .limit(1)
    )
    return _READER.first(connection.execute(statement))


def on_cards(
    connection: Connection,
    *,
    case_id: str,
    account: str,
    customer_id: str,
    method_ids: Sequence[str],
    fingerprints: Sequence[str],
    since: datetime,
) -> list[AttemptRow]:
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
    return _READER.all(found)


def processing_in(connection: Connection, case_id: str) -> int:
    """How many asynchronous payments of the case are still under way."""
    statement = (
        select(func.count())
        .select_from(attempts)
        .where(
            attempts.c.case_id == case_id,
            attempts.c.outcome == Outcome.PROCESSING,
            _HAPPENED,
        )
    )
    return int(connection.execute(statement).scalar_one())


def last_decline_code(connection: Connection, case_id: str) -> str | None:
    """Why the newest failed attempt of the case failed."""
    query = (
        select(attempts.c.decline_code)
        .where(attempts.c.case_id == case_id, attempts.c.outcome != Outcome.SUCCEEDED)
        .order_by(attempts.c.at.desc(), attempts.c.id.desc())
        .limit(1)
    )
    return connection.execute(query).scalar()


# -- the domain's view


def as_attempt(row: AttemptRow, *, invoice_id: str) -> Attempt:
    """The domain's view of a row."""
    return Attempt(
        at=row.at,
        source=row.source,
        outcome=row.outcome,
        amount=row.amount,
        currency=row.currency,
        invoice_id=invoice_id,
        payment_method_id=row.payment_method_id,
        method_type=row.method_type,
        card_brand=row.card_brand,
        card_country=row.card_country,
        card_fingerprint=row.card_fingerprint,
        card_exp=_expiry(row.card_exp_year, row.card_exp_month),
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


def _expiry(year: int | None, month: int | None) -> tuple[int, int] | None:
    return None if year is None or month is None else (year, month)


def imported_attempt(row: Mapping[str, Any]) -> Attempt:
    """An attempt of an imported log."""
    expiry = row.get("card_exp")
    return Attempt(
        at=datetime.fromisoformat(row["at"]),
        source=Source(row.get("source", Source.STRIPE)),
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


# -- figures


def shares_by_type(
    connection: Connection, country: str | None, *, most: int
) -> dict[str, tuple[int, int]]:
    """By method type (succeeded, tried) of the newest `most` settled attempts, in that country."""
    newest = (
        select(attempts.c.method_type, attempts.c.outcome, cases.c.customer_country)
        .join(cases, cases.c.id == attempts.c.case_id)
        .where(attempts.c.outcome.in_((Outcome.SUCCEEDED, Outcome.FAILED)), _HAPPENED)
        .order_by(attempts.c.id.desc())
        .limit(most)
        .subquery()
    )
    won = func.count().filter(newest.c.outcome == Outcome.SUCCEEDED)
    query = (
        select(newest.c.method_type, won, func.count())
        .where(newest.c.customer_country.is_not_distinct_from(country))
        .group_by(newest.c.method_type)
    )
    return {kind: (good, tried) for kind, good, tried in connection.execute(query)}


def counts(connection: Connection) -> list[tuple[Source, Outcome, int]]:
    """(source, outcome, count) over all cases."""
    statement = (
        select(attempts.c.source, attempts.c.outcome, func.count())
        .where(_HAPPENED, attempts.c.case_id.is_not(None))
        .group_by(attempts.c.source, attempts.c.outcome)
    )
    return [
        (Source(source), Outcome(outcome), count)
        for source, outcome, count in connection.execute(statement)
    ]
