"""A planned charge is carried out: everything read again, rules asked again, intent, then Stripe.

    claimed ── look again ── rules ── intent committed ── fence ── pay ── outcome ── next plan
                 │             │                           │        │
                 ended,        forbidden:                  braked:  no answer: the intent stays
                 changed:      planned anew                never    unknown and a `settle` action
                 planned anew                              sent     finds out

A process may die between any two of these; what is committed says where to go on.
"""

from collections.abc import Sequence
from datetime import timedelta

import structlog
from sqlalchemy import Connection

from retry_engine.domain.actions import ActionKind, ActionState
from retry_engine.domain.case_states import CaseState
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.errors import SendingForbidden, StripeRejected, StripeUnavailable
from retry_engine.domain.modes import Mode
from retry_engine.domain.policy import Policy
from retry_engine.domain.stripe_states import InvoiceStatus
from retry_engine.domain.turns import waits_for
from retry_engine.recovery import cases, observed_charges
from retry_engine.recovery.case_view import read_view
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.charging import second_subscriptions, settle, sync
from retry_engine.recovery.charging.charge import charge
from retry_engine.recovery.charging.ports import ChargingPorts
from retry_engine.recovery.charging.rules import charge_refusal
from retry_engine.recovery.fence import Fence
from retry_engine.recovery.gate import Permit
from retry_engine.recovery.gateway import OUR_KEYS, ChargeFacts, SubscriptionFacts
from retry_engine.store import cases as rows
from retry_engine.store import decisions, intents, schedule
from retry_engine.store.cases import Case
from retry_engine.store.database import CONNECTION_LOST, alone
from retry_engine.store.intents import BeforeCharging, Intent, NewIntent
from retry_engine.store.schedule import Action

log = structlog.get_logger()

# By then what is known of a charge that went first is in the record.
_AFTER_THE_OTHER = timedelta(minutes=10)


def retry(ports: ChargingPorts, connection: Connection, action: Action) -> None:
    """Charge as planned, unless what is known now speaks against it.

    Raises:
        NotPermitted: the engine's mode, or the case's, forbids it; nothing was written.
        StripeUnavailable, StripeForbidden: what is to be read first could not be; nothing was sent.
    """
    assert action.payment_method_id is not None, "a retry names its method"
    with alone(connection):
        case = rows.find(connection, action.case_id)
        now = rows.time_of(connection, case, ports.clock())
        known = intents.before_charging(
            connection,
            case_id=action.case_id,
            account=case.account,
            method_id=action.payment_method_id,
        )
    policy = ports.planner.policy_of(case.policy_version)
    if known.unknown:  # whatever has become of the case: Stripe may have the money
        _find_out_first(ports, connection, action, ActionKind.SETTLE)
        return
    if case.state != CaseState.OPEN or case.mode == Mode.HOLDOUT:
        ports.finish(connection, action, f"the case is {case.state}", state=ActionState.CANCELLED)
        return
    if now - action.due_at > timedelta(hours=policy.limits.late_action_hours):
        ports.look_again(connection, action, "found too late to be carried out blindly")
        return
    if case.mode == Mode.SHADOW:
        _shadow(ports, connection, action)
        return
    # before the intent, which then nothing is in the way of
    permit = ports.gate.permit(case.mode)
    if known.processing:
        _find_out_first(ports, connection, action, ActionKind.REFRESH)
        return
    changed = _what_changed(ports, connection, case, action, known)
    if changed is not None:
        ports.look_again(connection, action, changed)
        return
    charges = sync.charges_since(ports.gateway, case, now=now)
    intent = _commit_intent(ports, connection, action, policy, charges)
    if intent is not None:
        _send(ports, connection, case, action, intent, permit=permit)


def _find_out_first(
    ports: ChargingPorts, connection: Connection, action: Action, kind: ActionKind
) -> None:
    """A charge of this case is on its way, or its process died: that is found out first."""
    with connection.begin():
        case = rows.get(connection, action.case_id)
        now = rows.time_of(connection, case, ports.clock())
        schedule.finish(connection, action.id, result="an outcome is not known yet")
        schedule.plan(connection, case, kind, at=now)


def _shadow(ports: ChargingPorts, connection: Connection, action: Action) -> None:
    """Record that the engine would have charged now; nothing is written to Stripe."""
    with connection.begin():
        case = rows.get(connection, action.case_id)
        schedule.finish(connection, action.id, result="shadow: would have been charged now")
        cases.keep_watch(ports.context(connection, case), case)


# -- what Stripe says now


def _what_changed(
    ports: ChargingPorts, connection: Connection, case: Case, action: Action, known: BeforeCharging
) -> str | None:
    """Whatever Stripe now says that makes the plan stale, in words; None: go ahead."""
    invoice = ports.gateway.invoice(case.account, case.invoice_id)
    if invoice.status != InvoiceStatus.OPEN:
        return f"the invoice is {invoice.status}"
    if invoice.amount_remaining != case.amount_remaining:
        return "what is owed has changed"
    if invoice.auto_advance:
        return "Stripe retries this invoice again"
    subscription = sync.subscription_of(ports.gateway, case.account, invoice)
    return (
        _subscription_stopped(subscription)
        or _method_changed(ports, case, action, known)
        or _taken_out_another(ports, connection, case, subscription)
    )


def _taken_out_another(
    ports: ChargingPorts, connection: Connection, case: Case, own: SubscriptionFacts | None
) -> str | None:
    found = second_subscriptions.read(ports.gateway, case, own, since=case.opened_at)
    if not found:
        return None
    with connection.begin():
        reasons = second_subscriptions.reasons(connection, case, found)
    return reasons[0].text if reasons else None


def _method_changed(
    ports: ChargingPorts, case: Case, action: Action, known: BeforeCharging
) -> str | None:
    assert action.payment_method_id is not None, "a retry names its method"
    try:
        method = ports.gateway.payment_method(case.account, action.payment_method_id)
    except StripeRejected:
        return "the payment method is gone"
    if method.customer_id != case.customer_id:
        return "the payment method was detached"
    data = ("card_fingerprint", "card_exp_year", "card_exp_month")
    if known.method_known and any(getattr(known, n) != getattr(method, n) for n in data):
        return "the card was replaced"
    return None


def _subscription_stopped(subscription: SubscriptionFacts | None) -> str | None:
    if subscription is None:
        return None
    if subscription.status.is_ended:
        return f"the subscription is {subscription.status}"
    return "collection is paused in Stripe" if subscription.collection_paused else None


# -- the intent


def _commit_intent(
    ports: ChargingPorts,
    connection: Connection,
    action: Action,
    policy: Policy,
    charges: Sequence[ChargeFacts],
) -> Intent | None:
    """The last check and the intent, in one transaction; None where it may not be.

    `charges` are the customer's since the last look: what others tried meanwhile counts too.
    """
    with connection.begin():
        case, paused = rows.get_with_switch(connection, action.case_id)
        context = ports.context(connection, case)
        if paused:
            schedule.put_back(connection, action)
            return None
        if case.state != CaseState.OPEN:
            schedule.finish(connection, action.id, result=f"the case is {case.state}")
            return None
        observed_charges.record(
            connection, case.account, case.customer_id, charges, now=context.now
        )
        # who charges the same card for another invoice sees this intent, or is seen by it
        intents.lock_card(connection, case.account, action.payment_method_id)
        view = read_view(context, case)
        refusal = charge_refusal(
            view,
            action.payment_method_id,
            at=context.now,
            policy=policy,
            by_person=action.requested_by is not None,
        )
        if refusal is not None:
            log.info("attempt_refused", rule=refusal.rule, detail=str(refusal))
            schedule.finish(
                connection, action.id, result=f"refused: {refusal}", state=ActionState.CANCELLED
            )
            ports.planner.plan(context, case)
            return None
        if _gives_way(context, case, action, policy):
            return None
        return _write_intent(context, case, action, view)


def _gives_way(context: CaseContext, case: Case, action: Action, policy: Policy) -> bool:
    """Wait where another invoice of the customer is worth more and wants the same card soon.

    Once that one was charged the gap is in the way of this, and it is planned anew.
    """
    assert action.payment_method_id is not None, "a retry names its method"
    wanted = schedule.charges_on_card(context.connection, case, action.payment_method_id)
    mine = next((charge for charge in wanted if charge.case_id == case.id), None)
    if mine is None:
        return False
    others = [charge for charge in wanted if charge.case_id != case.id]
    first = waits_for(mine, others, now=context.now, limits=policy.limits)
    if first is None:
        return False
    why = f"gives way to invoice {first.invoice_id}, which is worth more, on the same card"
    log.info("attempt_gives_way", to=first.invoice_id, due_at=first.due_at)
    schedule.finish(context.connection, action.id, result=why, state=ActionState.CANCELLED)
    schedule.plan_retry(
        context.connection,
        case,
        at=max(first.due_at, context.now) + _AFTER_THE_OTHER,
        payment_method_id=action.payment_method_id,
        decision_id=action.decision_id,
    )
    return True


def _write_intent(context: CaseContext, case: Case, action: Action, view: CaseView) -> Intent:
    method = view.method(action.payment_method_id)
    assert method is not None, "the rules refuse a method that is gone"
    sequence = case.attempt_sequence + 1
    # strictly after the card's last change, on whose clock no time may have passed since
    at = context.now
    if method.changed_at is not None:
        at = max(at, method.changed_at + timedelta(microseconds=1))
    key = f"{OUR_KEYS}{case.id}:{sequence}:{method.id}"
    rows.change(context.connection, case.id, attempt_sequence=sequence)
    new = NewIntent(
        account=case.account,
        customer_id=case.customer_id,
        case_id=case.id,
        sequence=sequence,
        at=at,
        sent_at=context.real_now,
        amount=case.amount_remaining,
        currency=case.currency,
        payment_method_id=method.id,
        method_type=method.type,
        card_brand=method.card_brand,
        card_country=method.card_country,
        card_fingerprint=method.card_fingerprint,
        card_exp_year=method.card_exp[0] if method.card_exp else None,
        card_exp_month=method.card_exp[1] if method.card_exp else None,
        payment_intent_id=case.payment_intent_id,
        idempotency_key=key,
        action_id=action.id,
    )
    intent = intents.add(context.connection, new)
    if action.decision_id is not None:
        decisions.mark_carried_out(context.connection, action.decision_id)
    return intent


# -- the charge


def _send(
    ports: ChargingPorts,
    connection: Connection,
    case: Case,
    action: Action,
    intent: Intent,
    *,
    permit: Permit,
) -> None:
    fence = Fence(connection=connection, attempt_id=intent.id, clock=ports.clock)
    try:
        result = charge(ports.gateway, case, intent, permit=permit, fence=fence)
        answer = settle.Answer(intent=intent, result=result)
    except SendingForbidden as forbidden:
        if fence.has_sent:
            settle.leave_unknown(ports, connection, action, intent, str(forbidden))
        else:
            settle.never_sent(ports, connection, action, intent, str(forbidden))
        return
    except StripeUnavailable as error:
        settle.leave_unknown(ports, connection, action, intent, str(error))
        return
    except StripeRejected as error:
        answer = settle.Answer(intent=intent, result=None, refused=str(error) or "refused")
    try:
        settle.write_answer(ports, connection, action, answer)
    except CONNECTION_LOST as error:
        log.warning("connection_lost_with_an_answer", attempt=intent.id, error=str(error)[:200])
        settle.write_answer_apart(ports, action, answer)
