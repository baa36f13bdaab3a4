"""Ownership ends: what waits for a person is not kept from Stripe for ever.

A case that is worked on closes at its deadline by itself. One that waits for a person (in review,
or paused) comes to this end instead:

    review's deadline    as the policy file says: wait on, reject, release or stop
    case's deadline      the case ends; its invoice is given back where our rules allow it

Nothing is ever approved here, and what a person has said stands: where their last word was that
the invoice is not to be charged, Stripe does not get it either.
"""

from typing import Any

import structlog

from retry_engine.domain.case_states import CaseState, CloseReason
from retry_engine.domain.modes import Mode
from retry_engine.domain.policy import Policy
from retry_engine.domain.vocabulary import ReviewState, Unanswered
from retry_engine.recovery import cases
from retry_engine.recovery.cases import CaseContext
from retry_engine.store import attempts, overrides, reviews
from retry_engine.store import cases as rows
from retry_engine.store.cases import Case
from retry_engine.store.holdings import THE_POLICY
from retry_engine.store.reviews import Review

log = structlog.get_logger()

_WAITING = (CaseState.IN_REVIEW, CaseState.PAUSED)


def end_if_due(context: CaseContext, case: Case, policy: Policy) -> Case:
    """Act for whoever did not answer in time; the case as it is then."""
    if case.state not in _WAITING or attempts.processing_in(context.connection, case.id):
        return case
    review = reviews.open_of(context.connection, case.id)
    if context.now >= case.deadline_at:
        why = f"nobody decided by the case's deadline ({case.deadline_at:%Y-%m-%d %H:%M} UTC)"
        return _end(context, case, review, act=_last_act(context, case, policy), why=why)
    if case.state != CaseState.IN_REVIEW or review is None or context.now < review.deadline_at:
        return case
    act = policy.review.unanswered
    if act is Unanswered.WAIT:
        return case
    why = f"nobody answered the review by its deadline ({review.deadline_at:%Y-%m-%d %H:%M} UTC)"
    return _end(context, case, review, act=act, why=why)


def _last_act(context: CaseContext, case: Case, policy: Policy) -> Unanswered:
    unanswered = case.state == CaseState.IN_REVIEW
    kept = not policy.end.hand_back or (unanswered and policy.review.unanswered is Unanswered.STOP)
    kept = kept or _a_person_said_no(context, case)
    return Unanswered.STOP if kept else Unanswered.RELEASE


def _a_person_said_no(context: CaseContext, case: Case) -> bool:
    """Whether the case is paused because somebody rejected what was proposed."""
    if case.state != CaseState.PAUSED:
        return False
    ways = rows.transitions(context.connection, case.id)
    last = next((way for way in reversed(ways) if way.to_state is CaseState.PAUSED), None)
    return last is not None and last.name == "rejected" and last.by != THE_POLICY


def _end(
    context: CaseContext, case: Case, review: Review | None, *, act: Unanswered, why: str
) -> Case:
    log.warning("ownership_ends", case=case.id, act=act, because=why)
    if review is not None:
        reviews.decide(
            context.connection,
            review.id,
            state=ReviewState.REJECTED,
            decided_at=context.now,
            decided_by=THE_POLICY,
            verdict_reason=why,
        )
    if act is Unanswered.REJECT:
        after = cases.move(
            context, case, "rejected", cause=why, by=THE_POLICY, pause_cause=THE_POLICY
        )
    elif case.mode == Mode.TAKEOVER:
        after = cases.close(
            context,
            case,
            CloseReason.STOPPED,
            cause=why,
            by=THE_POLICY,
            give_back=act is Unanswered.RELEASE,
        )
    else:  # Stripe has had it all the time
        after = cases.close(context, case, CloseReason.EXHAUSTED, cause=why, by=THE_POLICY)
    overrides.add(
        context.connection,
        case_id=case.id,
        at=context.now,
        by=THE_POLICY,
        action=act,
        reason=why,
        before=_shown(case),
        after=_shown(after),
    )
    return after


def _shown(case: Case) -> dict[str, Any]:
    return {
        "state": case.state,
        "close_reason": case.close_reason,
        "amount_remaining": case.amount_remaining,
        "policy_version": case.policy_version,
    }
