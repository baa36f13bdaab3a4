"""Stripe's charges become attempts, each once; the engine's own are matched to their intents."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection

from retry_engine.domain import codes
from retry_engine.domain.attempts import Outcome, Source
from retry_engine.domain.vocabulary import RiskFlagKind
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.gateway import ChargeFacts, PaymentTrail
from retry_engine.store import attempts, inbox, intents, payment_methods, risk_flags
from retry_engine.store.attempts import AttemptRow, ChargeValues
from retry_engine.store.cases import Case
from retry_engine.store.intents import Intent

# What may have become a charge: an attempt of ours with no charge yet.
Ours = TypeVar("Ours", AttemptRow, Intent)

# A charge belongs to the intent that was committed shortly before it, give or take two clocks.
_MATCH_BEFORE = timedelta(minutes=2)
MATCH_AFTER = timedelta(hours=1)


def record_trail(context: CaseContext, case: Case, trail: PaymentTrail) -> None:
    """Every charge becomes an attempt, once; the engine's own are matched to their intents."""
    connection = context.connection
    ids = [c.id for c in trail.charges]
    known = attempts.known_charges(connection, case.account, ids)
    origins = inbox.origins_of(
        connection, [i for i in ids if i not in known or known[i].case_id is None]
    )
    ours = [
        row
        for row in attempts.of_case(connection, case.id)
        if row.source == Source.ENGINE and row.charge_id is None
    ]
    first = True
    for charge in trail.charges:
        row = known.get(charge.id)
        if row is None:
            row = match(charge, ours, origins.get(charge.id))
            if row is not None:
                ours.remove(row)
        source = Source.STRIPE if first else source_of(origins.get(charge.id))
        if row is None:
            _add_charge(context, case, charge, source)
        else:
            if row.case_id is None:  # seen before its case was, or beside it
                attempts.change(connection, row.id, case_id=case.id, source=source)
                _note_authentication(connection, case, charge, source)
            learn(context, row, charge)
        first = False
    _record_silent_authentication(context, case, trail)


def match(
    charge: ChargeFacts, intents: Sequence[Ours], origin: dict[str, Any] | None
) -> Ours | None:
    """The engine's intent that this charge carried out: by its key, else by method and time."""
    key = (origin or {}).get("idempotency_key")
    if key is not None:
        exact = next((row for row in intents if row.idempotency_key == key), None)
        if exact is not None:
            return exact
    if origin is not None and "id" in origin and origin["id"] is None:
        return None  # Stripe did this by itself
    for row in intents:
        if row.payment_method_id != charge.payment_method_id:
            continue
        if any(
            at - _MATCH_BEFORE <= charge.created_at <= at + MATCH_AFTER
            for at in (row.at, row.sent_at)
            if at is not None
        ):
            return row
    return None


def source_of(origin: dict[str, Any] | None) -> Source:
    """Who made a charge that is not ours, from the event's `request` where one came.

    Stripe's own acts carry no request; the API and the dashboard send an idempotency key; the
    hosted page does not.
    """
    if origin is None or origin.get("id") is None:
        return Source.STRIPE
    return Source.MANUAL if origin.get("idempotency_key") else Source.CUSTOMER


def learn(context: CaseContext, row: AttemptRow | Intent, charge: ChargeFacts) -> None:
    """Write into an attempt what its charge says."""
    values = _charge_values(charge)
    if row.outcome == Outcome.SUCCEEDED and charge.outcome is Outcome.SUCCEEDED:
        values.pop("outcome")
    if row.source == Source.ENGINE and row.decline_code and not charge.decline_code:
        values.pop("decline_code")
    resolved = row.resolved_at or (
        context.real_now if charge.outcome is not Outcome.PROCESSING else None
    )
    attempts.change(context.connection, row.id, resolved_at=resolved, **values)


def _add_charge(context: CaseContext, case: Case, charge: ChargeFacts, source: Source) -> None:
    attempts.add_charge(
        context.connection,
        account=case.account,
        customer_id=case.customer_id,
        case_id=case.id,
        # our reading of a clock may be older than the charge; nothing happens after now
        at=min(charge.created_at, context.now),
        source=source,
        amount=charge.amount,
        currency=charge.currency,
        payment_method_id=charge.payment_method_id,
        payment_intent_id=charge.payment_intent_id,
        **_charge_values(charge),
    )
    _note_authentication(context.connection, case, charge, source)


def _note_authentication(
    connection: Connection, case: Case, charge: ChargeFacts, source: Source
) -> None:
    """Who pays by themselves has passed what their bank asks for."""
    passed = source is Source.CUSTOMER and charge.outcome is Outcome.SUCCEEDED
    if passed and charge.payment_method_id is not None:
        payment_methods.change(
            connection,
            case.account,
            charge.payment_method_id,
            authenticated_at=charge.created_at,
        )


def _charge_values(charge: ChargeFacts) -> ChargeValues:
    return {
        "charge_id": charge.id,
        "outcome": charge.outcome,
        "method_type": charge.method_type,
        "card_brand": charge.card_brand,
        "card_country": charge.card_country,
        "card_fingerprint": charge.card_fingerprint,
        "card_exp_year": charge.card_exp_year,
        "card_exp_month": charge.card_exp_month,
        "decline_code": charge.decline_code,
        "advice_code": charge.advice_code,
        "network_advice_code": charge.network_advice_code,
        "network_decline_code": charge.network_decline_code,
        "outcome_type": charge.outcome_type,
        "outcome_reason": charge.outcome_reason,
        "risk_level": charge.risk_level,
    }


def _record_silent_authentication(context: CaseContext, case: Case, trail: PaymentTrail) -> None:
    """A bank that asks for the customer may leave no charge, only a waiting payment intent."""
    if not trail.awaits_customer:
        return
    existing = attempts.of_case(context.connection, case.id)
    if any(
        row.outcome == Outcome.REQUIRES_ACTION
        and row.payment_method_id == (trail.awaiting_method_id or row.payment_method_id)
        for row in existing
    ):
        return
    method = (
        payment_methods.get(context.connection, case.account, trail.awaiting_method_id)
        if trail.awaiting_method_id
        else None
    )
    attempts.add(
        context.connection,
        account=case.account,
        customer_id=case.customer_id,
        case_id=case.id,
        at=context.now if existing else case.opened_at,
        source=Source.STRIPE,
        outcome=Outcome.REQUIRES_ACTION,
        amount=case.amount_remaining,
        currency=case.currency,
        payment_method_id=trail.awaiting_method_id,
        payment_intent_id=trail.payment_intent_id,
        decline_code=codes.AUTHENTICATION_REQUIRED,
        method_type=method.type if method else "card",
        card_brand=method.card_brand if method else None,
        card_country=method.card_country if method else None,
        card_fingerprint=method.card_fingerprint if method else None,
        card_exp_year=method.card_exp_year if method else None,
        card_exp_month=method.card_exp_month if method else None,
    )


def record(
    connection: Connection,
    account: str,
    customer_id: str,
    charges: Sequence[ChargeFacts],
    *,
    now: datetime,
) -> bool:
    """Charges for whatever else, by whomever, once: they wear down, and speak for, the same cards.

    Whether any of them was news. What a case of the customer's has sent itself is left to that
    case, which finds its outcome in its own trail.
    """
    if not charges:
        return False
    known = attempts.known_charges(connection, account, [c.id for c in charges])
    new = [charge for charge in charges if charge.id not in known]
    # an answer of success does not name its charge, and the event that does may have been lost
    nameless = intents.nameless(connection, account, customer_id) if new else []
    news = False
    for charge in charges:
        row = known.get(charge.id)
        if row is None:
            news |= _record_charge(
                connection,
                charge,
                nameless,
                account=account,
                customer_id=customer_id,
                at=min(charge.created_at, now),
            )
        elif row.case_id is None and row.outcome != charge.outcome:
            attempts.change(connection, row.id, **_charge_values(charge))
            news = True
    return news


def _record_charge(
    connection: Connection,
    charge: ChargeFacts,
    nameless: list[AttemptRow],
    *,
    account: str,
    customer_id: str,
    at: datetime,
) -> bool:
    ours = match(charge, [row for row in nameless if _may_be(charge, row)], None)
    if ours is not None:
        nameless.remove(ours)
        if ours.outcome == Outcome.SUCCEEDED:
            attempts.change(connection, ours.id, charge_id=charge.id)
        return False
    attempts.add_charge(
        connection,
        account=account,
        customer_id=customer_id,
        at=at,
        source=Source.STRIPE,
        amount=charge.amount,
        currency=charge.currency,
        payment_method_id=charge.payment_method_id,
        payment_intent_id=charge.payment_intent_id,
        **_charge_values(charge),
    )
    if charge.disputed:
        risk_flags.add(
            connection,
            account=account,
            object_id=charge.id,
            kind=RiskFlagKind.DISPUTE,
            customer_id=customer_id,
            charge_id=charge.id,
            at=charge.created_at,
        )
    return True


def _may_be(charge: ChargeFacts, row: AttemptRow) -> bool:
    """Whether that attempt of ours, whose charge nobody has named, can have been this one."""
    if row.outcome == Outcome.SUCCEEDED and charge.outcome is not Outcome.SUCCEEDED:
        return False
    return row.payment_intent_id in (None, charge.payment_intent_id)


def moment_of_change(
    connection: Connection, account: str, method_id: str, now: datetime
) -> datetime:
    """Just now, and after every attempt so far: a test clock stands still in between."""
    last = attempts.last_on_method(connection, account, method_id)
    return now if last is None or last < now else last + timedelta(microseconds=1)
