"""Ownership of dunning: who retries an invoice, the engine or Stripe, and how it changes hands.

It is taken from Stripe when a case is looked at, and released where the case's end says so. Stripe
charges some three times more, on its own days, and nobody can hold it to our rules. So an invoice
is released only where the rules that bind us would let it be charged, and only as it was found: one
that Stripe was not going to retry before we took it stays so.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from retry_engine.domain import network_rules
from retry_engine.domain.actions import ActionKind
from retry_engine.domain.case_states import CaseState, CloseReason
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.policy import Policy
from retry_engine.domain.stripe_states import InvoiceStatus
from retry_engine.domain.vocabulary import ReviewState, RiskFlagKind
from retry_engine.recovery import cases
from retry_engine.recovery.case_view import read_view
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.charging.ports import ChargingPorts
from retry_engine.recovery.gate import Gate
from retry_engine.recovery.gateway import Gateway, InvoiceFacts
from retry_engine.store import cases as rows
from retry_engine.store import intents, reviews, risk_flags, schedule
from retry_engine.store.cases import Case
from retry_engine.store.holdings import KEPT_BY_POLICY, THE_POLICY
from retry_engine.store.schedule import Action

# Says when in a week, not whether: Stripe keeps to the banks' days itself.
_OF_THE_WEEK = frozenset({"debit_weekend"})
_ASK_AGAIN = timedelta(seconds=20)


def take(gateway: Gateway, case: Case, invoice: InvoiceFacts, *, gate: Gate) -> InvoiceFacts:
    """The invoice as it is once Stripe retries it no more, where it is ours to take."""
    if not _is_ours_to_take(case, invoice) or gate.refusal(case.mode) is not None:
        return invoice
    taken = gateway.set_auto_advance(
        case.account, invoice.id, permit=gate.permit(case.mode), on=False
    )
    return replace(taken, subscription=invoice.subscription)


def _is_ours_to_take(case: Case, invoice: InvoiceFacts) -> bool:
    return (
        case.state != CaseState.CLOSED
        and invoice.auto_advance
        and invoice.status == InvoiceStatus.OPEN
    )


def release_refusal(context: CaseContext, case: Case, policy: Policy) -> str | None:
    """Why it is not released and stays with nobody, in words; None: Stripe may have it back."""
    if case.auto_advance_found is False:
        return "Stripe was not going to retry it before it was taken over"
    if case.pause_cause == cases.PAUSED_IN_STRIPE:
        # Stripe's own retries of an invoice that was open already would go on
        return cases.PAUSED_IN_STRIPE
    since = context.now - timedelta(days=policy.review.dispute_days)
    flags = risk_flags.standing(context.connection, case.account, case.customer_id, since=since)
    if flags:
        flag = flags[-1]
        what = "dispute" if flag.kind is RiskFlagKind.DISPUTE else "early fraud warning"
        return f"there is a {what} on a charge of this customer ({flag.object_id})"
    unanswered = reviews.named_in(
        context.connection, case.id, state=ReviewState.REJECTED, by=THE_POLICY
    ) - reviews.named_in(context.connection, case.id, state=ReviewState.APPROVED)
    if unanswered:
        return f"nobody has said that it is owed all the same ({', '.join(sorted(unanswered))})"
    return refused_by_rules(read_view(context, case), at=context.now, policy=policy)


def refused_by_rules(view: CaseView, *, at: datetime, policy: Policy) -> str | None:
    """The rule that forbids what Stripe would do next: charge the default method."""
    default = next((m for m in view.payment_methods if m.is_default), None)
    if default is None:
        return None  # Stripe has nothing to charge
    if default.type in network_rules.DEBIT_RULES and any(
        a.payment_method_id == default.id for a in view.attempts
    ):
        return "a bank debit was presented, and nobody keeps Stripe to its scheme's limit"
    spans = network_rules.forbidden(view, default, policy=policy)
    standing = network_rules.longest_at(
        (s for s in network_rules.binding(spans) if s.rule not in _OF_THE_WEEK), at
    )
    return f"{standing.detail} (rule {standing.rule})" if standing is not None else None


def release(ports: ChargingPorts, connection: Connection, action: Action) -> None:
    """Back to Stripe as it was found, where the rules would let it be charged."""
    case = ports.case(connection, action.case_id)
    permit = ports.gate.permit(case.mode)
    if _outcome_is_open(ports, connection, action):
        return
    policy = ports.planner.policy_of(case.policy_version)
    invoice = ports.gateway.invoice(case.account, case.invoice_id)
    given = invoice.auto_advance
    with connection.begin():
        kept = release_refusal(ports.context(connection, case), case, policy)
    if case.close_reason == CloseReason.EXHAUSTED and not policy.end.hand_back:
        kept = KEPT_BY_POLICY
    if invoice.status != InvoiceStatus.OPEN or given:
        result = "nothing left to hand back"
    elif kept is not None:
        result = f"not given back to Stripe: {kept}"
    else:
        ports.gateway.set_auto_advance(case.account, case.invoice_id, permit=permit, on=True)
        result, given = "Stripe owns the invoice's retries again", True
    with connection.begin():
        # what is not given back stays on record as held by us
        rows.change(
            connection,
            action.case_id,
            taken_over=invoice.status == InvoiceStatus.OPEN and not given,
        )
        schedule.finish(connection, action.id, result=result)


def keep_off(ports: ChargingPorts, connection: Connection, action: Action) -> None:
    """Nobody charges any more: neither the engine nor, through it, Stripe."""
    case = ports.case(connection, action.case_id)
    permit = ports.gate.permit(case.mode)
    invoice = ports.gateway.invoice(case.account, case.invoice_id)
    if invoice.status == InvoiceStatus.OPEN and invoice.auto_advance:
        ports.gateway.set_auto_advance(case.account, case.invoice_id, permit=permit, on=False)
    with connection.begin():
        rows.change(connection, action.case_id, taken_over=invoice.status == InvoiceStatus.OPEN)
        schedule.finish(connection, action.id, result=f"nobody charges it: {case.close_reason}")


def _outcome_is_open(ports: ChargingPorts, connection: Connection, action: Action) -> bool:
    """Whether a charge may still be on its way; then this waits until that is found out."""
    with connection.begin():
        if intents.open_in(connection, action.case_id) is None:
            return False
        case = rows.get(connection, action.case_id)
        now = rows.time_of(connection, case, ports.clock())
        schedule.plan(connection, case, ActionKind.SETTLE, at=now)
        schedule.put_back(connection, action, at=now + _ASK_AGAIN)
        return True
