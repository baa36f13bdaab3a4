"""A case is closed where what it was about is over: paid, given up, ended, or deleted at Stripe."""

from collections.abc import Sequence

import structlog
from sqlalchemy import Connection

from retry_engine.domain.actions import ActionKind
from retry_engine.domain.attempts import Outcome, Source
from retry_engine.domain.case_states import CloseReason
from retry_engine.domain.modes import Mode
from retry_engine.domain.stripe_states import InvoiceStatus
from retry_engine.recovery import cases, deletions
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.charging.ports import ChargingPorts
from retry_engine.recovery.charging.sync import InvoiceSnapshot
from retry_engine.recovery.gateway import Gateway
from retry_engine.store import attempts, messages, schedule
from retry_engine.store.attempts import AttemptRow
from retry_engine.store.cases import Case
from retry_engine.store.schedule import Action

log = structlog.get_logger()


def close_if_over(context: CaseContext, case: Case, snapshot: InvoiceSnapshot) -> Case | None:
    """Close the case if what it was about is over; None if it goes on."""
    status = snapshot.invoice.status
    if status == InvoiceStatus.PAID or (
        status == InvoiceStatus.OPEN and snapshot.invoice.amount_remaining <= 0
    ):
        return close_paid(context, case)
    if status == InvoiceStatus.VOID:
        return cases.close(context, case, CloseReason.VOIDED, cause="the invoice was voided")
    if status == InvoiceStatus.UNCOLLECTIBLE:
        return cases.close(
            context, case, CloseReason.UNCOLLECTIBLE, cause="the invoice was marked uncollectible"
        )
    if snapshot.subscription is not None and snapshot.subscription.status.is_ended:
        return cases.close(
            context,
            case,
            CloseReason.SUBSCRIPTION_ENDED,
            cause=f"the subscription is {snapshot.subscription.status}",
        )
    if snapshot.customer.deleted:
        return cases.close(
            context, case, CloseReason.SUBSCRIPTION_ENDED, cause="the customer was deleted"
        )
    return None


def close_paid(context: CaseContext, case: Case) -> Case:
    """The invoice is paid: by the engine's charge or through its link, or elsewhere."""
    made = attempts.of_case(context.connection, case.id)
    by_engine = any(
        row.source == Source.ENGINE and row.outcome in (Outcome.SUCCEEDED, Outcome.PROCESSING)
        for row in made
    )
    if by_engine:
        _settle_processing(context, made)
        return cases.close(
            context, case, CloseReason.RECOVERED_BY_ENGINE, cause="the engine's charge was paid"
        )
    if case.mode == Mode.TAKEOVER:
        schedule.plan(context.connection, case, ActionKind.NEW_DEFAULT, at=context.now)
    if any(row.visited_at is not None for row in messages.of_case(context.connection, case.id)):
        return cases.close(
            context,
            case,
            CloseReason.RECOVERED_BY_ENGINE,
            cause="paid by the customer, who came by a link that the engine sent",
        )
    return cases.close(
        context, case, CloseReason.RECOVERED_ELSEWHERE, cause="paid, not by the engine's charge"
    )


def _settle_processing(context: CaseContext, made: Sequence[AttemptRow]) -> None:
    for row in made:
        if row.outcome == Outcome.PROCESSING:
            attempts.change(
                context.connection,
                row.id,
                outcome=Outcome.SUCCEEDED,
                resolved_at=context.real_now,
            )


def ended_as_gone(ports: ChargingPorts, connection: Connection, action: Action) -> bool:
    """End the case of an action that Stripe has nothing for, if that was deleted; else False."""
    connection.rollback()
    case = ports.case(connection, action.case_id)
    gone = _why_gone(ports.gateway, case)
    if gone is None:
        return False
    reason, cause = gone
    log.info("case_has_nothing_left", because=cause)
    with connection.begin():
        schedule.finish(connection, action.id, result=cause)
        cases.end_unreachable(
            connection,
            case.id,
            reason,
            cause=cause,
            real_now=ports.clock(),
            # Stripe keeps a deleted customer's charges, a deleted clock's not
            may_be_told=action.kind is not ActionKind.SETTLE,
        )
    return True


def _why_gone(gateway: Gateway, case: Case) -> tuple[CloseReason, str] | None:
    """Of a case about which Stripe said 404: what is not there any more, or None."""
    cause = deletions.who_is_gone(gateway, case.account, case.customer_id, case.test_clock)
    if cause is not None:
        return CloseReason.SUBSCRIPTION_ENDED, cause
    if not deletions.is_there(lambda: gateway.customer(case.account, case.customer_id)):
        return None
    if not deletions.is_there(lambda: gateway.invoice(case.account, case.invoice_id)):
        return CloseReason.VOIDED, "the invoice was deleted"
    return None
