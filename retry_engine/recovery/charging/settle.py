"""What came of a charge: the definite answers, and the ones that have to be found out."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from retry_engine.domain.actions import ActionKind
from retry_engine.domain.attempts import Outcome
from retry_engine.domain.case_states import CaseState
from retry_engine.domain.errors import StripeRejected
from retry_engine.recovery import cases
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.charging import sync
from retry_engine.recovery.gate import Permit
from retry_engine.recovery.gateway import ChargeFacts, Gateway, PaymentTrail, PayResult
from retry_engine.recovery.planning import Planner
from retry_engine.store import attempts, intents, schedule
from retry_engine.store.attempts import AttemptRow
from retry_engine.store.cases import Case
from retry_engine.store.intents import Intent

# Stripe may forget a key from 24 h on, and would then run the same request as a new one.
KEY_LIFETIME = timedelta(hours=23)


def settle(
    context: CaseContext, case: Case, attempt_id: int, result: PayResult, *, planner: Planner
) -> Case:
    """Write a definite answer and take the case on: closed, waiting, or planned anew."""
    attempts.change(
        context.connection,
        attempt_id,
        outcome=result.outcome,
        resolved_at=None if result.outcome is Outcome.PROCESSING else context.real_now,
        decline_code=result.decline_code,
        advice_code=result.advice_code,
        network_advice_code=result.network_advice_code,
        network_decline_code=result.network_decline_code,
        charge_id=_unless_known(context, case, attempt_id, result.charge_id),
        payment_intent_id=result.payment_intent_id or case.payment_intent_id,
    )
    return after_outcome(context, case, result.outcome, planner=planner)


def after_outcome(context: CaseContext, case: Case, outcome: Outcome, *, planner: Planner) -> Case:
    """The case's next step once an attempt of the engine has a definite outcome."""
    if not case.is_living:
        paid = outcome is Outcome.SUCCEEDED
        return cases.turned_out_paid(context, case) if paid else case
    if outcome is Outcome.SUCCEEDED:
        return sync.close_paid(context, case)
    if outcome is Outcome.PROCESSING:
        if case.state == CaseState.OPEN:
            case = cases.move(
                context, case, "charge_processing", cause="the debit is accepted, not yet paid"
            )
        cases.keep_watch(context, case)
        # an answer alone is no charge: whether there is one is looked up
        at = context.now + sync.SHOWS_WITHIN
        schedule.plan(context.connection, case, ActionKind.REFRESH, at=at)
        return case
    if case.state == CaseState.OPEN:
        return planner.plan(context, case)
    cases.keep_watch(context, case)
    return case


def _unless_known(
    context: CaseContext, case: Case, attempt_id: int, charge_id: str | None
) -> str | None:
    """A charge belongs to one attempt; an event may have brought it in already."""
    if charge_id is None:
        return None
    known = attempts.known_charges(context.connection, case.account, [charge_id]).get(charge_id)
    return charge_id if known is None or known.id == attempt_id else None


def find_in_record(
    trail: PaymentTrail,
    intent: Intent,
    known: dict[str, AttemptRow],
    origins: dict[str, dict[str, Any]],
) -> ChargeFacts | None:
    """The charge that this intent became, by Stripe's record, or None."""
    for charge in trail.charges:
        owner = known.get(charge.id)
        if owner is not None and owner.id != intent.id:
            continue
        if owner is not None or sync.match(charge, [intent], origins.get(charge.id)):
            return charge
    return None


def may_repeat(intent: Intent, *, real_now: datetime) -> bool:
    """Whether Stripe still knows the key, so that sending it again cannot charge twice."""
    return real_now - intent.sent_at < KEY_LIFETIME


def is_settled_by_silence(intent: Intent, *, real_now: datetime) -> bool:
    """Whether a charge that Stripe's record does not show can no longer appear in it."""
    return real_now - (intent.last_sent_at or intent.sent_at) > intents.ON_ITS_WAY


def repeat(
    gateway: Gateway,
    case: Case,
    intent: Intent,
    *,
    permit: Permit,
    before_sending: Callable[[], None],
) -> PayResult | None:
    """Send the same request under the same key: Stripe answers what it answered, or does it now.

    None: Stripe refuses the request as such, so that nothing was charged under this key.
    """
    try:
        return gateway.pay(
            case.account,
            case.invoice_id,
            method_id=intent.payment_method_id,
            permit=permit,
            idempotency_key=intent.idempotency_key,
            before_sending=before_sending,
        )
    except StripeRejected:
        return None


def abandon(
    context: CaseContext, case: Case, intent: Intent, *, because: str, planner: Planner
) -> Case:
    """The attempt is proven never to have happened: it counts nowhere."""
    attempts.change(
        context.connection,
        intent.id,
        abandoned=True,
        outcome=Outcome.FAILED,
        resolved_at=context.real_now,
        error=because,
    )
    if case.state == CaseState.OPEN:
        return planner.plan(context, case)
    if case.is_living:
        cases.keep_watch(context, case)
    return case
