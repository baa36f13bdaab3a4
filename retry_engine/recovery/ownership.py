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
from retry_engine.recovery import cases
from retry_engine.recovery.cases import Moment
from retry_engine.store import cases as rows
from retry_engine.store import history, reviews
from retry_engine.store.cases import Case
from retry_engine.store.holdings import THE_POLICY
from retry_engine.store.reviews import Review

log = structlog.get_logger()

_WAITING = (CaseState.IN_REVIEW, CaseState.PAUSED)


def end_if_due(moment: Moment, case: Case, policy: Policy) -> Case:
    """Act for whoever did not answer in time; the case as it is then."""
    if case.state not in _WAITING or history.processing_attempts(moment.connection, case.id):
        return case
    review = reviews.open_of(moment.connection, case.id)
    if moment.now >= case.deadline_at:
        why = f"nobody decided by the case's deadline ({case.deadline_at:%Y-%m-%d %H:%M} UTC)"
        return _end(moment, case, review, act=_last_act(moment, case, policy), why=why)
    if case.state != CaseState.IN_REVIEW or review is None or moment.now < review.deadline_at:
        return case
    act = policy.review.unanswered
    if act == "wait":
        return case
    why = f"nobody answered the review by its deadline ({review.deadline_at:%Y-%m-%d %H:%M} UTC)"
    return _end(moment, case, review, act=act, why=why)


def _last_act(moment: Moment, case: Case, policy: Policy) -> str:
    unanswered = case.state == CaseState.IN_REVIEW
    kept = not policy.end.hand_back or (unanswered and policy.review.unanswered == "stop")
    return "stop" if kept or _a_person_said_no(moment, case) else "release"


def _a_person_said_no(moment: Moment, case: Case) -> bool:
    """Whether the case is paused because somebody rejected what was proposed."""
    if case.state != CaseState.PAUSED:
        return False
    ways = rows.transitions(moment.connection, case.id)
    last = next((way for way in reversed(ways) if way["to_state"] == CaseState.PAUSED), None)
    return last is not None and last["name"] == "rejected" and last["by"] != THE_POLICY


def _end(moment: Moment, case: Case, review: Review | None, *, act: str, why: str) -> Case:
    log.warning("ownership_ends", case=case.id, act=act, because=why)
    if review is not None:
        reviews.decide(
            moment.connection,
            review.id,
            state="rejected",
            decided_at=moment.now,
            decided_by=THE_POLICY,
            verdict_reason=why,
        )
    if act == "reject":
        after = cases.move(
            moment, case, "rejected", cause=why, by=THE_POLICY, pause_cause=THE_POLICY
        )
    elif case.mode == Mode.TAKEOVER:
        after = cases.close(
            moment,
            case,
            CloseReason.STOPPED,
            cause=why,
            by=THE_POLICY,
            give_back=act == "release",
        )
    else:  # Stripe has had it all the time
        after = cases.close(moment, case, CloseReason.EXHAUSTED, cause=why, by=THE_POLICY)
    history.add_override(
        moment.connection,
        case_id=case.id,
        at=moment.now,
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
