"""A case follows what Stripe says now: it is over, held, paused, waiting, or planned anew."""

from datetime import timedelta

from sqlalchemy import Connection

from retry_engine.domain.actions import ActionKind
from retry_engine.domain.case_states import CaseState, CloseReason
from retry_engine.domain.policy import Policy
from retry_engine.domain.vocabulary import OnDispute, ReviewState, RiskFlagKind
from retry_engine.recovery import cases
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.charging import close, second_subscriptions, settle, sync, unanswered
from retry_engine.recovery.charging.ports import ChargingPorts
from retry_engine.recovery.charging.sync import InvoiceSnapshot
from retry_engine.recovery.planning import Planner
from retry_engine.store import attempts, intents, reviews, risk_flags, schedule
from retry_engine.store import cases as rows
from retry_engine.store.cases import Case
from retry_engine.store.schedule import Action

_FLAGS = {
    RiskFlagKind.DISPUTE: "dispute",
    RiskFlagKind.EARLY_FRAUD_WARNING: "early fraud warning",
}


def reconcile(ports: ChargingPorts, connection: Connection, action: Action) -> None:
    """Look at Stripe again, and take the case on from what is there."""
    case = ports.case(connection, action.case_id)
    if not case.is_living:
        ports.finish(connection, action, "the case is closed")
        return
    now, paused = ports.now(connection, case), ports.is_paused(connection)
    snapshot = sync.read(ports.gateway, case, gate=ports.gate, now=now, paused=paused)
    with connection.begin():
        context = ports.context(connection, case)
        _apply(context, rows.get(connection, action.case_id), snapshot, planner=ports.planner)
        schedule.finish(connection, action.id, result="looked")


def _apply(
    context: CaseContext, case: Case, snapshot: InvoiceSnapshot, *, planner: Planner
) -> Case:
    """Write the snapshot into the record, end or move the case accordingly, and plan."""
    policy = planner.policy_of(case.policy_version)
    case = sync.record(context, case, snapshot, policy)
    if not case.is_living:
        return case
    if intents.open_in(context.connection, case.id) is not None:
        # whether that one charge went through decides what everything else means
        schedule.plan(context.connection, case, ActionKind.SETTLE, at=context.now)
        cases.keep_watch(context, case)
        return case
    ended = close.close_if_over(context, case, snapshot)
    if ended is not None:
        return ended
    case = _hold(context, case, snapshot, policy)
    case = _follow_collection_pause(context, case, snapshot)
    case = settle.give_up_without_charge(context, case, policy)
    case = _follow_processing(context, case)
    case = unanswered.end_if_due(context, case, policy)
    if case.state in (CaseState.OPEN, CaseState.NEEDS_CUSTOMER):
        return planner.replan_if_changed(context, case)
    if case.is_living:
        cases.keep_watch(context, case)
    return case


def _hold(context: CaseContext, case: Case, snapshot: InvoiceSnapshot, policy: Policy) -> Case:
    """A person has to look where a payment is disputed, or this one is probably not owed."""
    disputes = _disputes(context, case, policy)
    others = second_subscriptions.reasons(context.connection, case, snapshot.taken_out_since)
    if case.state == CaseState.PAUSED:  # a person has said no to these, and may still resume it
        answered = reviews.named_in(context.connection, case.id, state=ReviewState.REJECTED)
        disputes = [reason for reason in disputes if reason.about not in answered]
        others = [reason for reason in others if reason.about not in answered]
    if disputes and policy.review.on_dispute == OnDispute.CLOSE:
        return cases.close(context, case, CloseReason.DISPUTED, cause=disputes[-1].text)
    if not disputes and not others:
        return case
    return cases.hold(
        context, case, reason=[*disputes, *others], proposal={"action": "resume"}, policy=policy
    )


def _disputes(context: CaseContext, case: Case, policy: Policy) -> list[cases.Reason]:
    flags = risk_flags.standing(
        context.connection,
        case.account,
        case.customer_id,
        since=context.now - timedelta(days=policy.review.dispute_days),
    )
    return [
        cases.Reason(
            f"{_FLAGS[flag.kind]} on a charge of this customer ({flag.object_id})",
            about=flag.object_id,
        )
        for flag in flags
    ]


def _follow_collection_pause(context: CaseContext, case: Case, snapshot: InvoiceSnapshot) -> Case:
    """A merchant who pauses collection in Stripe means us as well; resuming there resumes here."""
    paused = snapshot.subscription is not None and snapshot.subscription.collection_paused
    if paused and case.state in (CaseState.OPEN, CaseState.NEEDS_CUSTOMER):
        return cases.move(
            context,
            case,
            "paused",
            cause=cases.PAUSED_IN_STRIPE,
            pause_cause=cases.PAUSED_IN_STRIPE,
        )
    if not paused and case.state == CaseState.PAUSED and case.pause_cause == cases.PAUSED_IN_STRIPE:
        return cases.move(
            context, case, "resumed", cause="collection goes on in Stripe", pause_cause=None
        )
    return case


def _follow_processing(context: CaseContext, case: Case) -> Case:
    under_way = attempts.processing_in(context.connection, case.id)
    if case.state == CaseState.PROCESSING and not under_way:
        return cases.move(context, case, "debit_failed", cause="the debit came back unpaid")
    if case.state == CaseState.NEEDS_CUSTOMER and under_way:
        case = cases.move(context, case, "method_changed", cause="the customer is paying")
    if case.state == CaseState.OPEN and under_way:
        return cases.move(context, case, "charge_processing", cause="a payment is under way")
    return case
