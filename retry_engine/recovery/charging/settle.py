"""What came of a charge is written down, and its case taken on from there."""

from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import Connection

from retry_engine.domain.actions import ActionKind, ActionState
from retry_engine.domain.attempts import Outcome, Source
from retry_engine.domain.case_states import CaseState
from retry_engine.domain.policy import Policy
from retry_engine.recovery import cases
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.charging.close import close_paid
from retry_engine.recovery.charging.ports import ChargingPorts
from retry_engine.recovery.gateway import PayResult
from retry_engine.recovery.planning import Planner
from retry_engine.store import attempts, intents, schedule
from retry_engine.store import cases as rows
from retry_engine.store.cases import Case
from retry_engine.store.intents import Intent
from retry_engine.store.schedule import Action

log = structlog.get_logger()

# A charge stands in Stripe's record when the call that made it is answered; this is long after.
SHOWS_WITHIN = timedelta(hours=1)
# After so many answers without a charge, or refusals of the request itself, one after another, a
# person has to look.
_EMPTY_BEFORE_REVIEW = 3
_REFUSALS_BEFORE_REVIEW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What Stripe said to one charge; without a result it refused the request as such."""

    intent: Intent
    result: PayResult | None
    refused: str = "refused"


# -- an answer came


def write_answer(
    ports: ChargingPorts, connection: Connection, action: Action, answer: Answer
) -> None:
    """Write what Stripe said, and take action and case on."""
    with connection.begin():
        case = rows.get(connection, action.case_id)
        context = ports.context(connection, case)
        result, intent = answer.result, answer.intent
        if result is None:
            _nothing_was_done(ports, context, case, action, answer)
            return
        log.info("attempt_settled", outcome=result.outcome, decline_code=result.decline_code)
        # first, as the next retry is planned in its place
        schedule.finish(connection, action.id, result=result.outcome)
        take_answer(context, case, intent.id, result, planner=ports.planner)


def write_answer_apart(ports: ChargingPorts, action: Action, answer: Answer) -> None:
    """The connection was lost while Stripe answered: the answer is written on another.

    Unless somebody is settling the intent already: they find it in Stripe's record.
    """
    with ports.database.case_lock(action.case_id, wait_seconds=5.0) as connection:
        with connection.begin():
            standing = intents.open_in(connection, action.case_id)
        if standing is not None and standing.id == answer.intent.id:
            write_answer(ports, connection, action, answer)


def take_answer(
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
        return close_paid(context, case)
    if outcome is Outcome.PROCESSING:
        if case.state == CaseState.OPEN:
            case = cases.move(
                context, case, "charge_processing", cause="the debit is accepted, not yet paid"
            )
        cases.keep_watch(context, case)
        # an answer alone is no charge: whether there is one is looked up
        at = context.now + SHOWS_WITHIN
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


def _nothing_was_done(
    ports: ChargingPorts, context: CaseContext, case: Case, action: Action, answer: Answer
) -> None:
    """Stripe refused the request as such: look again, and ask a person if that goes on."""
    intent, error = answer.intent, answer.refused
    log.warning("request_refused", attempt=intent.id, error=error)
    attempts.change(
        context.connection,
        intent.id,
        abandoned=True,
        outcome=Outcome.FAILED,
        resolved_at=context.real_now,
        error=error[:500],
    )
    schedule.finish(context.connection, action.id, result=error)
    if not case.is_living:
        return
    if intents.abandoned_in_a_row(context.connection, case.id) >= _REFUSALS_BEFORE_REVIEW:
        policy = ports.planner.policy_of(case.policy_version)
        cases.hold(
            context,
            case,
            reason=f"Stripe keeps refusing the request: {error}",
            proposal={"action": "resume"},
            policy=policy,
        )
        return
    schedule.plan(context.connection, case, ActionKind.REFRESH, at=context.now)


# -- nothing was sent, or nobody answered


def never_sent(
    ports: ChargingPorts, connection: Connection, action: Action, intent: Intent, because: str
) -> None:
    """The brake was pulled between the intent and its request: nothing was sent."""
    log.info("charge_not_sent", attempt=intent.id, because=because)
    with connection.begin():
        case, paused = rows.get_with_switch(connection, action.case_id)
        attempts.change(
            connection,
            intent.id,
            abandoned=True,
            outcome=Outcome.FAILED,
            resolved_at=ports.clock(),
            error=f"not sent: {because}"[:500],
        )
        if paused and case.state == CaseState.OPEN:
            schedule.put_back(connection, action)
            return
        schedule.finish(
            connection, action.id, result=f"not sent: {because}", state=ActionState.CANCELLED
        )
        if case.is_living:
            schedule.plan(
                connection, case, ActionKind.REFRESH, at=ports.context(connection, case).now
            )


def leave_unknown(
    ports: ChargingPorts, connection: Connection, action: Action, intent: Intent, error: str
) -> None:
    """Nobody answered: the intent stands, and its outcome is to be found out."""
    log.warning("outcome_unknown", attempt=intent.id, error=error)
    with connection.begin():
        case = rows.get(connection, action.case_id)
        context = ports.context(connection, case)
        attempts.change(connection, intent.id, error=error[:500])
        schedule.finish(connection, action.id, result=f"outcome unknown: {error}")
        schedule.plan(connection, case, ActionKind.SETTLE, at=context.now)


# -- nothing was charged


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


def give_up_without_charge(context: CaseContext, case: Case, policy: Policy) -> Case:
    """An accepted charge that Stripe's record does not show never happened: it counts nowhere.

    A bank debit that is under way has a charge, which is pending for as long as that takes.
    """
    empty = [
        row
        for row in attempts.of_case(context.connection, case.id)
        if row.outcome == Outcome.PROCESSING
        and row.source == Source.ENGINE
        and row.charge_id is None
    ]
    because = "Stripe accepted the request, and its record shows no charge"
    given_up = [row for row in empty if context.now - row.at >= SHOWS_WITHIN]
    for row in given_up:
        attempts.change(
            context.connection,
            row.id,
            abandoned=True,
            outcome=Outcome.FAILED,
            resolved_at=context.real_now,
            error=because,
        )
    if len(given_up) < len(empty):
        at = min(row.at for row in empty if row not in given_up) + SHOWS_WITHIN
        schedule.plan(context.connection, case, ActionKind.REFRESH, at=at)
    asks = bool(given_up) and case.is_living
    in_a_row = intents.abandoned_in_a_row(context.connection, case.id) if asks else 0
    if in_a_row < _EMPTY_BEFORE_REVIEW:
        return case
    why = f"{because}, {in_a_row} times one after another"
    return cases.hold(context, case, reason=why, proposal={"action": "resume"}, policy=policy)
