"""What a person may do to a case, at once, and always with a reason that is kept."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from retry_engine.app import documents, moments
from retry_engine.domain.actions import ActionKind
from retry_engine.domain.case_states import CaseState, CloseReason
from retry_engine.domain.errors import BadRequest, Refused, RetryEngineError, TransitionRefused
from retry_engine.domain.modes import Mode
from retry_engine.domain.vocabulary import ReviewState
from retry_engine.recovery import cases
from retry_engine.recovery.case_view import read_view
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.charging import ownership, unknown_outcomes
from retry_engine.recovery.charging.ports import ChargingPorts
from retry_engine.recovery.charging.rules import charge_refusal, pacing_warnings
from retry_engine.recovery.gate import Gate
from retry_engine.recovery.planning import Planner
from retry_engine.recovery.policies import Policies
from retry_engine.store import (
    attempts,
    engine_state,
    intents,
    overrides,
    payment_methods,
    reviews,
    risk_flags,
    schedule,
)
from retry_engine.store import cases as rows
from retry_engine.store.cases import Case
from retry_engine.store.database import Database, money_moves
from retry_engine.store.engine_state import EngineState
from retry_engine.store.reviews import Review

ACTIONS = ("retry", "pause", "resume", "stop", "release", "hold", "note", "migrate_policy")

# What starts something waits so long for a charge or an update that is under way.
_WAIT_SECONDS = 50.0
# These keep charges from being sent as soon as they are written; see `recovery.fence`.
_BRAKES = ("pause", "stop", "hold")
# How often is looked whether what is under way has ended.
_LOOK_EVERY_SECONDS = 0.5

# Is told what is still waited for, one text each.
Progress = Callable[[Sequence[str]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """One request of a person; `at` and `payment_method` only with `retry`."""

    action: str
    reason: str
    by: str
    at: datetime | None = None
    payment_method: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Carries out what people decide, under the same locks and rules as the engine itself.

    `charging` is asked for only while a charge is under way: it needs a key.
    """

    database: Database
    planner: Planner
    gate: Gate
    clock: Callable[[], datetime]
    policies: Policies
    charging: Callable[[], ChargingPorts]
    sleep: Callable[[float], None]

    def override(
        self, ref: str, wanted: Override, *, progress: Progress | None = None
    ) -> dict[str, Any]:
        """Carry it out and record it, or refuse with the reason and change nothing.

        A brake is pulled at once and then waits until no charge of the case is under way; it says
        meanwhile what it waits for. Broken off, it stays pulled.
        """
        _check(wanted)
        with self.database.transaction() as connection:
            case_id = rows.find(connection, ref).id
        if wanted.action in _BRAKES:
            return self._brake(case_id, wanted, progress)
        with (
            self.database.case_lock(case_id, wait_seconds=_WAIT_SECONDS) as connection,
            connection.begin(),
        ):
            before = rows.get(connection, case_id)
            warnings = self._warnings(self._context(connection, case_id), before, wanted)
            after = self._carry_out(connection, before, wanted, warnings=warnings)
            whole = documents.whole_case(connection, after, self.clock())
            return {**whole, "warnings": warnings}

    def _brake(self, case_id: str, wanted: Override, progress: Progress | None) -> dict[str, Any]:
        """Without the case's lock, which whoever is charging holds: the row's own suffices.

        A case that is to be closed is paused first where a charge is under way, as its outcome
        decides what the end is.
        """
        with self.database.transaction() as connection:
            before = rows.get(connection, case_id)
            closes_later = wanted.action == "stop" and bool(
                intents.on_their_way(connection, case_id)
            )
            if closes_later and before.state == CaseState.OPEN:
                context = self._context(connection, case_id)
                cause = f"to be stopped: {wanted.reason}"
                cases.move(
                    context, before, "paused", cause=cause, by=wanted.by, pause_cause=wanted.by
                )
            elif not closes_later:
                self._carry_out(connection, before, wanted)
        self._wait(progress, case_id=case_id)
        with self.database.transaction() as connection:
            case = rows.get(connection, case_id)
            warnings: list[str] = []
            if closes_later and before.is_living and not case.is_living:
                # what was wanted holds, nobody charges any more; but not as it was meant
                warnings = [
                    "the charge that was under way went through: the case is closed"
                    f" ({case.close_reason})"
                ]
                context = self._context(connection, case_id)
                self._keep(context, wanted, _shown(context, before), case, warnings)
            elif closes_later:
                case = self._carry_out(connection, case, wanted)
            whole = documents.whole_case(connection, case, self.clock())
            return {**whole, "warnings": warnings}

    def _carry_out(
        self,
        connection: Connection,
        before: Case,
        wanted: Override,
        *,
        warnings: Sequence[str] = (),
    ) -> Case:
        context = self._context(connection, before.id)
        shown_before = _shown(context, before)
        after = self._act(context, before, wanted)
        self._keep(context, wanted, shown_before, after, warnings)
        return after

    @staticmethod
    def _keep(
        context: CaseContext,
        wanted: Override,
        shown_before: dict[str, Any],
        after: Case,
        warnings: Sequence[str],
    ) -> None:
        """For good, with its author."""
        overrides.add(
            context.connection,
            case_id=after.id,
            at=context.now,
            by=wanted.by,
            action=wanted.action,
            reason=wanted.reason,
            before=shown_before,
            after=_shown(context, after) | ({"warnings": list(warnings)} if warnings else {}),
        )

    def _wait(self, progress: Progress | None, *, case_id: str | None = None) -> None:
        """Until nothing is under way, for as long as it takes, on no connection of the pool.

        A worker that died with an answer leaves a charge that nobody would write down for a while:
        Stripe is asked for it from here, so that the brake knows at once how it ended.
        """
        told: Sequence[str] = ()
        with self.database.apart() as connection:
            while True:
                charges = intents.on_their_way(connection, case_id)
                found = [
                    f"a charge of {row.invoice_id} ({row.case_id}), its outcome is not known yet"
                    for row in charges
                ]
                if case_id is None and money_moves(connection):
                    found.append("a discount, a change of a renewal or an end at Stripe")
                if not found:
                    return
                if progress is not None and found != told:
                    progress(found)
                told = found
                for row in charges:
                    self._find_out(row.case_id)
                self.sleep(_LOOK_EVERY_SECONDS)

    def _find_out(self, case_id: str) -> None:
        with suppress(RetryEngineError):  # no key, no answer, somebody at work: it is asked again
            unknown_outcomes.look_up(self.charging(), case_id)

    def decide_review(
        self, review_id: str, *, verdict: str, reason: str, by: str
    ) -> dict[str, Any]:
        """Approved: the proposal is carried out. Rejected: dropped, and the case is paused."""
        if verdict not in ("approve", "reject"):
            raise BadRequest(f"unknown verdict {verdict!r}; expected approve or reject")
        _check_reason(reason)
        with self.database.transaction() as connection:
            case_id = reviews.get(connection, review_id).case_id
        with (
            self.database.case_lock(case_id, wait_seconds=_WAIT_SECONDS) as connection,
            connection.begin(),
        ):
            review = reviews.get(connection, review_id)
            if review.state is not ReviewState.OPEN:
                raise Refused(_answered(connection, review))
            context = self._context(connection, case_id)
            case = rows.get(connection, case_id)
            if verdict == "approve" and case.state == CaseState.PAUSED:
                raise Refused(
                    f"the case is paused ({case.pause_cause}): resume it, and the review stands"
                )
            shown_before = _shown(context, case)
            reviews.decide(
                connection,
                review_id,
                state=ReviewState.APPROVED if verdict == "approve" else ReviewState.REJECTED,
                decided_at=context.now,
                decided_by=by,
                verdict_reason=reason,
            )
            if verdict == "approve":
                case = self._approve(context, case, review, by=by)
            elif case.state == CaseState.IN_REVIEW:
                case = cases.move(context, case, "rejected", cause=reason, by=by, pause_cause=by)
            overrides.add(
                connection,
                case_id=case_id,
                at=context.now,
                by=by,
                action=verdict,
                reason=reason,
                before=shown_before,
                after=_shown(context, case),
            )
            return documents.review(reviews.get(connection, review_id), now=context.now)

    def set_engine(
        self, *, action: str, reason: str, by: str, progress: Progress | None = None
    ) -> dict[str, Any]:
        """The stop for everything: the switch first, then returns when nothing is under way.

        From the switch's commit on no charge is sent by any process. What had left before is waited
        for, however long that takes, on a connection that nobody else can use up.
        """
        if action not in ("pause", "resume"):
            raise BadRequest(f"unknown action {action!r}; expected pause or resume")
        _check_reason(reason)
        state = EngineState(paused=action == "pause", reason=reason, by=by, at=self.clock())
        with self.database.apart() as connection:
            engine_state.switch(connection, state)
        if state.paused:
            self._wait(progress)
        else:
            with self.database.transaction() as connection:
                schedule.look_at_what_was_left(connection)
        return documents.engine(state)

    # -- the acts

    def _act(self, context: CaseContext, case: Case, wanted: Override) -> Case:
        acts: dict[str, Callable[[CaseContext, Case, Override], Case]] = {
            "retry": self._retry,
            "pause": _pause,
            "resume": self._resume,
            "stop": _stop,
            "release": _release,
            "hold": self._hold,
            "note": lambda _context, case, _wanted: case,
            "migrate_policy": self._migrate_policy,
        }
        return acts[wanted.action](context, case, wanted)

    def _retry(self, context: CaseContext, case: Case, wanted: Override) -> Case:
        engine = engine_state.read(context.connection)
        if engine.paused:
            raise Refused(f"the engine is paused by {engine.by}: {engine.reason}")
        if case.state != CaseState.OPEN:
            raise TransitionRefused(f"the case is {case.state}; only an open case can be retried")
        if case.mode != Mode.TAKEOVER:
            raise TransitionRefused(f"the case is in mode {case.mode}: the engine charges nothing")
        not_permitted = self.gate.refusal(case.mode)
        if not_permitted is not None:
            raise not_permitted
        at, method_id = self._asked_for(context, case, wanted)
        refusal = charge_refusal(
            read_view(context, case),
            method_id,
            at=at,
            policy=self.policies.of(case.policy_version),
            by_person=True,
        )
        if refusal is not None:
            raise refusal
        self._no_charge_is_claimed(context, case)
        schedule.plan_retry(
            context.connection, case, at=at, payment_method_id=method_id, requested_by=wanted.by
        )
        return case

    def _asked_for(
        self, context: CaseContext, case: Case, wanted: Override
    ) -> tuple[datetime, str | None]:
        """When and on what; a moment that has only just passed is now."""
        at = moments.to_come(wanted.at or context.now, context.now)
        return at, wanted.payment_method or self._usual_method(context, case)

    def _warnings(self, context: CaseContext, case: Case, wanted: Override) -> list[str]:
        """What the engine's own pacing, or its rules about Stripe's retries, say against it."""
        policy = self.policies.of(case.policy_version)
        if wanted.action == "retry":
            at, method_id = self._asked_for(context, case, wanted)
            return pacing_warnings(read_view(context, case), method_id, at=at, policy=policy)
        if wanted.action == "release" and case.is_living and case.mode == "takeover":
            kept = ownership.release_refusal(context, case, policy)
            return [f"Stripe's own retries are not given back: {kept}"] if kept else []
        return []

    @staticmethod
    def _no_charge_is_claimed(context: CaseContext, case: Case) -> None:
        standing = schedule.planned_retry(context.connection, case.id)
        if standing is not None and standing.state == "claimed":
            raise Refused("a charge of this case is being carried out; look again in a moment")

    @staticmethod
    def _usual_method(context: CaseContext, case: Case) -> str | None:
        standing = schedule.planned_retry(context.connection, case.id)
        if standing is not None:
            return standing.payment_method_id
        methods = payment_methods.attached(
            context.connection,
            case.account,
            case.customer_id,
            default_id=case.default_method_id,
        )
        return methods[0].id if methods else None

    def _resume(self, context: CaseContext, case: Case, wanted: Override) -> Case:
        if case.state != CaseState.PAUSED:
            raise TransitionRefused(f"the case is {case.state}, not paused")
        if reviews.open_of(context.connection, case.id) is not None:  # its question still stands
            return cases.move(
                context, case, "held", cause=wanted.reason, by=wanted.by, pause_cause=None
            )
        return self._back_to_life(context, case, cause=wanted.reason, by=wanted.by)

    def _back_to_life(self, context: CaseContext, case: Case, *, cause: str, by: str) -> Case:
        """Out of a pause or a review: to what the case would be doing had nobody stepped in."""
        if attempts.processing_in(context.connection, case.id):
            transition = "resumed_processing"
        else:
            transition = "resumed" if case.state == CaseState.PAUSED else "approved"
        case = cases.move(context, case, transition, cause=cause, by=by, pause_cause=None)
        # Stripe is read before anything is charged: much may have happened meanwhile
        schedule.plan(context.connection, case, ActionKind.REFRESH, at=context.now)
        return case

    def _hold(self, context: CaseContext, case: Case, wanted: Override) -> Case:
        proposal = _proposal_of(context, case)
        policy = self.policies.of(case.policy_version)
        return cases.hold(
            context, case, reason=wanted.reason, proposal=proposal, policy=policy, by=wanted.by
        )

    def _migrate_policy(self, context: CaseContext, case: Case, wanted: Override) -> Case:
        if not case.is_living:
            raise TransitionRefused("the case is closed; its policy is history")
        self.policies.keep(context.connection)
        policy = self.policies.current
        case = rows.change(
            context.connection,
            case.id,
            policy_version=policy.version,
            deadline_at=case.opened_at + timedelta(days=policy.limits.horizon_days),
        )
        if case.state in (CaseState.OPEN, CaseState.NEEDS_CUSTOMER):
            return self.planner.plan(context, case)
        return case

    def _approve(self, context: CaseContext, case: Case, review: Review, *, by: str) -> Case:
        """Carry out the proposal; what the review did not show stays as it is."""
        proposal = dict(review.proposal or {})
        named = [str(r["about"]) for r in review.reasons if r.get("about")]
        risk_flags.clear(context.connection, case.account, named, at=context.now)
        if proposal.get("action") == "stop":
            return cases.close(
                context, case, CloseReason.STOPPED, cause="the proposal to stop was approved", by=by
            )
        if case.pause_cause is not None:
            cause = f"approved; paused before ({case.pause_cause}), and so still"
            return cases.move(context, case, "paused", cause=cause, by=by)
        case = self._back_to_life(context, case, cause="approved", by=by)
        if proposal.get("action") == "retry" and case.state == CaseState.OPEN:
            at = proposal.get("at")
            # under the case's lock: what is claimed is not being carried out
            schedule.cancel_claimed_retry(context.connection, case.id, result="approved anew")
            schedule.plan_retry(
                context.connection,
                case,
                at=max(datetime.fromisoformat(at), context.now) if at else context.now,
                payment_method_id=proposal["payment_method"],
                requested_by=by,
            )
        return case

    def _context(self, connection: Any, case_id: str) -> CaseContext:
        real_now = self.clock()
        now = rows.time_of(connection, rows.find(connection, case_id), real_now)
        return CaseContext(connection=connection, now=now, real_now=real_now)


def _pause(context: CaseContext, case: Case, wanted: Override) -> Case:
    """A review that is open stays so: it is asked again when the case is resumed."""
    paused = cases.move(
        context, case, "paused", cause=wanted.reason, by=wanted.by, pause_cause=wanted.by
    )
    cases.keep_watch(context, paused)
    return paused


def _stop(context: CaseContext, case: Case, wanted: Override) -> Case:
    return cases.close(context, case, CloseReason.STOPPED, cause=wanted.reason, by=wanted.by)


def _release(context: CaseContext, case: Case, wanted: Override) -> Case:
    return cases.close(
        context, case, CloseReason.STOPPED, cause=wanted.reason, by=wanted.by, give_back=True
    )


def _answered(connection: Connection, review: Review) -> str:
    """Why that review takes no verdict any more, and which one does."""
    now_open = reviews.open_of(connection, review.case_id)
    if now_open is None:
        return f"review {review.id} is {review.state} already"
    return (
        f"review {review.id} is {review.state} ({review.verdict_reason}); "
        f"what stands now is asked by {now_open.id}: {now_open.reason}"
    )


def _proposal_of(context: CaseContext, case: Case) -> dict[str, Any]:
    standing = schedule.planned_retry(context.connection, case.id)
    if standing is None:
        return {"action": "resume"}
    return {
        "action": "retry",
        "at": documents.text(standing.due_at),
        "payment_method": standing.payment_method_id,
    }


def _shown(context: CaseContext, case: Case) -> dict[str, Any]:
    document = documents.case(context.connection, case, context.real_now)
    keys = ("state", "next_action", "close_reason", "amount_remaining", "policy_version")
    return {key: document[key] for key in keys}


def _check(wanted: Override) -> None:
    if wanted.action not in ACTIONS:
        raise BadRequest(f"unknown action {wanted.action!r}; expected one of {', '.join(ACTIONS)}")
    _check_reason(wanted.reason)
    if wanted.action != "retry" and (wanted.at or wanted.payment_method):
        raise BadRequest("a time and a payment method go with the action retry only")
    if wanted.at is not None:
        moments.with_zone(wanted.at)


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise BadRequest("a reason is required; it is kept with what was done")
