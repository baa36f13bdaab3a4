"""A case's life: how it opens, moves and ends. Nothing else changes a case's state."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from retry_engine.domain import case_states
from retry_engine.domain.actions import ActionKind
from retry_engine.domain.case_states import CaseState, CloseReason
from retry_engine.domain.modes import Mode
from retry_engine.domain.policy import Policy
from retry_engine.domain.vocabulary import OutboundType, ReviewState
from retry_engine.recovery import telling
from retry_engine.recovery.gateway import CustomerFacts, InvoiceFacts
from retry_engine.store import cases as rows
from retry_engine.store import engine_state, intents, offers, reviews, schedule
from retry_engine.store.cases import Case

_RECOVERED = (CloseReason.RECOVERED_BY_ENGINE, CloseReason.RECOVERED_ELSEWHERE)
# Why a case is paused where the merchant paused its subscription's collection there.
PAUSED_IN_STRIPE = "collection is paused in Stripe"
# A living case is read again this often, in case an event was lost; Stripe redelivers for 3 days.
SAFETY_INTERVAL = timedelta(days=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseContext:
    """One piece of work on one case: the transaction, the case's own time and the real one."""

    connection: Connection
    now: datetime
    real_now: datetime


def open_case(
    context: CaseContext,
    *,
    account: str,
    invoice: InvoiceFacts,
    customer: CustomerFacts,
    engine_mode: str,
    policy: Policy,
    policy_content: dict[str, Any],
    cause: str,
) -> Case | None:
    """Open the invoice's case and plan its first look at Stripe; None where it has one already."""
    engine_state.keep_policy(context.connection, policy.version, policy_content)
    case = rows.create(
        context.connection,
        id=f"case_{uuid.uuid4().hex[:24]}",
        account=account,
        invoice_id=invoice.id,
        customer_id=invoice.customer_id,
        subscription_id=invoice.subscription_id,
        state=CaseState.OPEN,
        mode=mode_for(customer.id, engine_mode, holdout=policy.comparison.holdout),
        policy_version=policy.version,
        amount_at_open=invoice.amount_remaining,
        amount_remaining=invoice.amount_remaining,
        amount_paid_at_open=invoice.amount_paid,
        currency=invoice.currency,
        test_clock=customer.test_clock,
        opened_at=context.now,
        deadline_at=context.now + timedelta(days=policy.limits.horizon_days),
        billing_reason=invoice.billing_reason,
        invoice_created_at=invoice.created_at,
        auto_advance_found=invoice.auto_advance,
    )
    if case is None:
        return None
    _record(context, case, "opened", None, case.state, cause=cause)
    schedule.plan(context.connection, case, ActionKind.REFRESH, at=context.now)
    _tell(context, case, OutboundType.OPENED)
    return case


def mode_for(customer_id: str, engine_mode: str, *, holdout: float) -> str:
    """A customer is in the holdout for good: a stable hash decides, not a die at each failure."""
    if engine_mode == Mode.TAKEOVER and holdout > 0:
        digest = hashlib.blake2b(customer_id.encode(), digest_size=8, person=b"holdout").digest()
        if int.from_bytes(digest, "big") / 2**64 < holdout:
            return Mode.HOLDOUT
    return engine_mode


def move(
    context: CaseContext,
    case: Case,
    transition: str,
    *,
    cause: str,
    by: str | None = None,
    **values: Any,
) -> Case:
    """Take the case through a named transition and record who or what caused it.

    Raises:
        TransitionRefused: the case's state has no such way out.
    """
    target = case_states.apply(CaseState(case.state), transition)
    moved = rows.change(context.connection, case.id, state=target, **values)
    recorded = _record(context, case, transition, case.state, target, cause=cause, by=by)
    if target is CaseState.NEEDS_CUSTOMER:
        _tell(context, moved, OutboundType.NEEDS_CUSTOMER, about=str(recorded))
    if target in (CaseState.PAUSED, CaseState.IN_REVIEW):
        _find_out(context, case)
    return moved


def close(
    context: CaseContext,
    case: Case,
    reason: CloseReason,
    *,
    cause: str,
    by: str | None = None,
    give_back: bool = False,
) -> Case:
    """End the case. What becomes of an invoice that is still owed is done next: the policy's end
    where all was tried; where somebody stopped it nobody charges it any more, unless they want it
    to be given back to Stripe (`give_back`).

    Its planned retry and next look go with its state: the database sees to that.
    """
    closed = rows.end(
        context.connection,
        case,
        at=context.now,
        target=case_states.apply(CaseState(case.state), "closed"),
        reason=reason,
        because=f"the case is closed: {reason}",
        cause=cause[:500],
        by=by,
    )
    if reason not in _RECOVERED:
        _find_out(context, closed)
    if reason not in _RECOVERED and offers.of_case(context.connection, case.id) is not None:
        schedule.plan(context.connection, closed, ActionKind.OFFER_END, at=context.now)
    follows = what_follows(reason, mode=case.mode, taken_over=case.taken_over, give_back=give_back)
    if follows is not None:
        schedule.plan(context.connection, closed, follows, at=context.now)
    _tell(context, closed, *telling.of_end(reason))
    return closed


def end_unreachable(
    connection: Connection,
    case_id: str,
    reason: CloseReason,
    *,
    cause: str,
    real_now: datetime,
    may_be_told: bool = False,
) -> Case:
    """End a case of which Stripe has nothing any more: nothing is given back, nothing looked up.

    But what came of a charge on its way, where that `may_be_told` still.
    """
    case = rows.get(connection, case_id)
    now = rows.time_of(connection, case, real_now)
    if case.is_living:
        context = CaseContext(connection=connection, now=now, real_now=real_now)
        case = close(context, case, reason, cause=cause)
    schedule.withdraw(connection, [case_id], result=cause)
    if intents.open_in(connection, case_id) is not None:
        if may_be_told:
            schedule.plan(connection, case, ActionKind.SETTLE, at=now)
        else:
            intents.give_up(connection, case.account, why=cause, case_id=case_id)
    return rows.change(connection, case_id, taken_over=False)


def find_out_after_all(connection: Connection, account: str, *, real_now: datetime) -> int:
    """Ask about the charges whose outcome was given up with their account; how many those are."""
    found = intents.given_up(connection, account)
    for case_id in found:
        case = rows.get(connection, case_id)
        at = rows.time_of(connection, case, real_now)
        schedule.plan(connection, case, ActionKind.SETTLE, at=at)
    return len(found)


def what_follows(
    reason: CloseReason, *, mode: Mode, taken_over: bool, give_back: bool
) -> ActionKind | None:
    """What is done about the invoice of a case that has ended so; None: nothing is left to do."""
    if reason is CloseReason.EXHAUSTED and taken_over:
        return ActionKind.END
    if mode is Mode.TAKEOVER and reason in (CloseReason.STOPPED, CloseReason.DISPUTED):
        return ActionKind.HAND_BACK if give_back else ActionKind.KEEP_OFF
    return None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a person has to look. `about`: the dispute, warning or other subscription that their yes
    will settle."""

    text: str
    about: str | None = None


def hold(
    context: CaseContext,
    case: Case,
    *,
    reason: str | Sequence[Reason],
    proposal: dict[str, Any] | None,
    policy: Policy,
    by: str | None = None,
) -> Case:
    """Put the case into the review queue. `proposal`: what an approval carries out.

    Reasons add up. Where the case waits for a person already, a new one withdraws that review and
    asks again with all that stand, so that nobody answers a question they were not shown.
    """
    new = [Reason(reason)] if isinstance(reason, str) else list(reason)
    standing = reviews.open_of(context.connection, case.id)
    reasons: list[Mapping[str, str | None]] = list(standing.reasons) if standing else []
    added = [r for r in map(_plain, new) if r not in reasons]
    if standing is not None:
        proposal = dict(standing.proposal) if standing.proposal else None
        if added:
            because = f"a new reason came: {added[0]['text']}"
            withdraw_review(context, case, because=because[:500])
    if case.state != CaseState.IN_REVIEW:
        case = move(context, case, "held", cause="; ".join(r.text for r in new), by=by)
    if added:
        reasons += added
        reviews.add(
            context.connection,
            id=f"rev_{uuid.uuid4().hex[:24]}",
            case_id=case.id,
            reason="; ".join(str(r["text"]) for r in reasons),
            reasons=reasons,
            amount=case.amount_remaining,
            currency=case.currency,
            opened_at=context.now,
            deadline_at=context.now + timedelta(hours=policy.review.deadline_hours),
            proposal=proposal,
        )
    keep_watch(context, case)
    return case


def _plain(reason: Reason) -> dict[str, str | None]:
    return {"text": reason.text, "about": reason.about}


def withdraw_review(context: CaseContext, case: Case, *, because: str) -> None:
    """Nobody needs to answer any more."""
    waiting = reviews.open_of(context.connection, case.id)
    if waiting is not None:
        reviews.decide(
            context.connection,
            waiting.id,
            state=ReviewState.WITHDRAWN,
            decided_at=context.now,
            verdict_reason=because,
        )


def turned_out_paid(context: CaseContext, case: Case) -> Case:
    """A closed case whose last charge, nobody knew its outcome then, was paid: that was its end."""
    if case.is_living or case.close_reason == CloseReason.RECOVERED_BY_ENGINE:
        return case
    cause = f"closed as {case.close_reason}; the engine's last charge turned out to be paid"
    _record(context, case, "turned_out_paid", case.state, case.state, cause=cause)
    reason = CloseReason.RECOVERED_BY_ENGINE
    case = rows.change(context.connection, case.id, close_reason=reason)
    _tell(context, case, OutboundType.RECOVERED)
    return case


def _find_out(context: CaseContext, case: Case) -> None:
    """An outcome that nobody knows is found out, whatever becomes of its case."""
    if intents.open_in(context.connection, case.id) is not None:
        schedule.plan(context.connection, case, ActionKind.SETTLE, at=context.now)


def keep_watch(context: CaseContext, case: Case) -> None:
    """A living case always has something planned, so that it reaches its end without an event."""
    ends = [case.deadline_at]
    if case.state == CaseState.IN_REVIEW:
        asked = reviews.open_of(context.connection, case.id)
        ends += [asked.deadline_at] if asked is not None else []
    at = min([context.now + SAFETY_INTERVAL, *(end for end in ends if end > context.now)])
    schedule.plan(context.connection, case, ActionKind.REFRESH, at=at)


def _record(
    context: CaseContext,
    case: Case,
    name: str,
    source: str | None,
    target: str,
    *,
    cause: str,
    by: str | None = None,
) -> int:
    return rows.record_transition(
        context.connection,
        case_id=case.id,
        at=context.now,
        name=name,
        from_state=source,
        to_state=target,
        cause=cause[:500],
        by=by,
    )


def _tell(context: CaseContext, case: Case, *types: OutboundType, about: str = "") -> None:
    telling.tell(
        context.connection, case, *types, at=context.now, real_now=context.real_now, about=about
    )
