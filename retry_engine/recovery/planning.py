"""From what is known of a case to its next row in the schedule."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from retry_engine.domain.actions import ActionKind
from retry_engine.domain.case_states import CaseState, CloseReason
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.decisions import Decision, DecisionKind
from retry_engine.domain.messages import MessageKind
from retry_engine.domain.modes import Mode
from retry_engine.domain.policy import Policy
from retry_engine.recovery import cases
from retry_engine.recovery.case_view import inputs_of, read_view
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.policies import Policies
from retry_engine.store import decisions, schedule
from retry_engine.store.cases import Case
from retry_engine.store.schedule import Action

_SPOKEN_TO = (CaseState.OPEN, CaseState.NEEDS_CUSTOMER)


class Decider(Protocol):
    """What answers the question what to do with a case."""

    def decide(self, view: CaseView, policy: Policy) -> Decision:
        """A pure function of what it is given, and of the model in use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """Writes into the schedule what `decider` says of a case, by the case's own policy."""

    decider: Decider
    policies: Policies

    def policy_of(self, version: str) -> Policy:
        """The policy of that version."""
        return self.policies.of(version)

    def plan(self, context: CaseContext, case: Case) -> Case:
        """Decide anew, store the decision with its reasons, and make the schedule say the same."""
        if case.mode == Mode.HOLDOUT:
            return _leave_to_stripe(context, case)
        policy = self.policy_of(case.policy_version)
        view = read_view(context, case)
        decision = self.decider.decide(view, policy)
        decision_id = decisions.add(
            context.connection,
            case_id=case.id,
            at=context.now,
            decision=decision,
            policy_version=policy.version,
            inputs=inputs_of(view),
        )
        case = self._enact(context, case, decision, decision_id, policy)
        _schedule_message(context, case, decision, decision_id)
        return case

    def plan_message(self, context: CaseContext, case: Case) -> Case:
        """After a message: what comes next, unless a person's own plan stands."""
        standing = schedule.planned_retry(context.connection, case.id)
        if case.state not in _SPOKEN_TO or (standing is not None and standing.requested_by):
            return case
        if standing is not None and standing.state == "claimed":
            return case
        return self.plan(context, case)

    @staticmethod
    def decided_message(context: CaseContext, action: Action) -> tuple[MessageKind | None, int]:
        """What the decision behind a planned message wanted to say and to offer, minor units."""
        if action.decision_id is None:
            return None, 0
        found = decisions.get(context.connection, action.decision_id)
        if found is None or not found.message_kind:
            return None, 0
        return found.message_kind, found.discount

    def replan_if_changed(self, context: CaseContext, case: Case) -> Case:
        """Plan unless a plan stands, or a wait goes on, that was decided on the same facts."""
        standing = schedule.planned_retry(context.connection, case.id)
        if standing is not None and (standing.requested_by or standing.state == "claimed"):
            return case
        if context.now < case.deadline_at and self._still_holds(context, case, standing):
            cases.keep_watch(context, case)
            return case
        return self.plan(context, case)

    @staticmethod
    def _still_holds(context: CaseContext, case: Case, standing: Action | None) -> bool:
        last = decisions.last(context.connection, case.id)
        if last is None or last.inputs != inputs_of(read_view(context, case)):
            return False
        # in shadow a charge that was only thought of changes nothing: Stripe's next one will
        return (
            standing is not None
            or case.state == CaseState.NEEDS_CUSTOMER
            or case.mode == Mode.SHADOW
        )

    def _enact(
        self, context: CaseContext, case: Case, decision: Decision, decision_id: int, policy: Policy
    ) -> Case:
        cause = decision.reasons[0].text if decision.reasons else decision.kind.value
        if decision.kind is DecisionKind.RETRY:
            return _schedule_retry(context, case, decision, decision_id)
        schedule.cancel(context.connection, case.id, kind=ActionKind.RETRY, result=cause)
        if decision.kind is DecisionKind.STOP:
            return _stop(context, case, cause)
        if decision.kind is DecisionKind.REVIEW:
            return cases.hold(
                context, case, reason=cause, proposal=_proposal(decision), policy=policy
            )
        if case.state == CaseState.OPEN:
            case = cases.move(context, case, "customer_needed", cause=cause)
        cases.keep_watch(context, case)
        return case


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _schedule_retry(context: CaseContext, case: Case, decision: Decision, decision_id: int) -> Case:
    if case.state == CaseState.NEEDS_CUSTOMER:
        case = cases.move(context, case, "method_changed", cause="a method may be charged again")
    assert decision.retry_at is not None
    schedule.plan_retry(
        context.connection,
        case,
        at=max(decision.retry_at, context.now),
        payment_method_id=decision.payment_method_id,
        decision_id=decision_id,
    )
    cases.keep_watch(context, case)
    return case


def _schedule_message(
    context: CaseContext, case: Case, decision: Decision, decision_id: int
) -> None:
    schedule.cancel(
        context.connection, case.id, kind=ActionKind.MESSAGE, result="replaced by a newer decision"
    )
    if decision.message_at is not None and case.state in _SPOKEN_TO:
        at = max(decision.message_at, context.now)
        schedule.plan(context.connection, case, ActionKind.MESSAGE, at=at, decision_id=decision_id)


def _stop(context: CaseContext, case: Case, cause: str) -> Case:
    # in shadow the case stays to see what Stripe's own retries do, as long as the horizon lasts
    if case.mode == Mode.TAKEOVER or context.now >= case.deadline_at:
        return cases.close(context, case, CloseReason.EXHAUSTED, cause=cause)
    cases.keep_watch(context, case)
    return case


def _leave_to_stripe(context: CaseContext, case: Case) -> Case:
    if context.now >= case.deadline_at:
        return cases.close(context, case, CloseReason.EXHAUSTED, cause="the horizon has passed")
    cases.keep_watch(context, case)
    return case


def _proposal(decision: Decision) -> dict[str, Any]:
    if decision.payment_method_id is not None:
        return {
            "action": "retry",
            "at": _text(decision.retry_at),
            "payment_method": decision.payment_method_id,
        }
    return {"action": "stop"}
