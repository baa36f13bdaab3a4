"""A planned charge is carried out: everything read again, rules asked again, intent, then Stripe.

    claimed ── look again ── rules ── intent committed ── fence ── pay ── outcome ── next plan
                 │             │                           │        │
                 ended,        forbidden:                  braked:  no answer: the intent stays
                 changed:      planned anew                never    unknown and a `settle` action
                 planned anew                              sent     finds out

A process may die between any two of these; what is committed says where to go on.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from retry_engine.domain import network_rules
from retry_engine.domain.actions import LAST_DUTIES, ActionKind, ActionState
from retry_engine.domain.attempts import Outcome
from retry_engine.domain.case_states import CaseState, CloseReason
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.errors import (
    AttemptRefused,
    SendingForbidden,
    StripeForbidden,
    StripeRejected,
    StripeUnavailable,
)
from retry_engine.domain.modes import Mode
from retry_engine.domain.policy import Policy
from retry_engine.domain.stripe_states import InvoiceStatus
from retry_engine.domain.turns import waits_for
from retry_engine.recovery import absences, cases
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.charging import ownership, second_subscriptions, settle, sync
from retry_engine.recovery.fence import Fence
from retry_engine.recovery.gate import Gate, Permit
from retry_engine.recovery.gateway import (
    OUR_KEYS,
    ChargeFacts,
    Gateway,
    InvoiceFacts,
    PaymentTrail,
    PayResult,
    SubscriptionFacts,
)
from retry_engine.recovery.planning import Planner, view_of
from retry_engine.store import attempts, decisions, engine_state, inbox, intents, schedule
from retry_engine.store import cases as rows
from retry_engine.store.cases import Case
from retry_engine.store.database import CONNECTION_LOST, Database, alone
from retry_engine.store.holdings import KEPT_BY_POLICY
from retry_engine.store.intents import BeforeCharging, Intent, NewIntent
from retry_engine.store.schedule import Action

log = structlog.get_logger()

_ASK_AGAIN = timedelta(seconds=20)
# By then what is known of a charge that went first is in the record.
_AFTER_THE_OTHER = timedelta(minutes=10)
# After so many refusals of the request itself a person has to look.
_REFUSALS_BEFORE_REVIEW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Carries out the actions of one case at a time, on a connection that holds the case's lock."""

    database: Database
    gateway: Gateway
    planner: Planner
    gate: Gate
    clock: Callable[[], datetime]

    def run(self, connection: Connection, case_id: str, action: Action) -> None:
        """Carry out one claimed action.

        Raises:
            StripeUnavailable, StripeForbidden: nothing was decided; the action is to be held.
        """
        try:
            self._carry_out(connection, case_id, action)
        except StripeRejected as error:
            gone = error.status == 404 and action.kind in LAST_DUTIES
            case = self._case(connection, case_id)
            if not gone or case.is_living or not self._ended_as_gone(connection, case, action):
                raise

    def _carry_out(self, connection: Connection, case_id: str, action: Action) -> None:
        if action.kind == ActionKind.RETRY:
            self._retry(connection, case_id, action)
        elif action.kind == ActionKind.SETTLE:
            self._settle(connection, case_id, action)
        elif action.kind == ActionKind.HAND_BACK:
            self._hand_back(connection, case_id, action)
        elif action.kind == ActionKind.KEEP_OFF:
            self._keep_off(connection, case_id, action)
        elif action.kind == ActionKind.END:
            self._end(connection, case_id, action)
        elif action.kind == ActionKind.NEW_DEFAULT:
            self._new_default(connection, case_id, action)
        else:
            self._refresh(connection, case_id, action)

    # -- looking

    def _refresh(self, connection: Connection, case_id: str, action: Action) -> None:
        case = self._case(connection, case_id)
        if not case.is_living:
            self._finish(connection, action, "the case is closed")
            return
        try:
            now, paused = self._now(connection, case), self._is_paused(connection)
            snapshot = sync.read(self.gateway, case, gate=self.gate, now=now, paused=paused)
        except StripeRejected as error:
            if error.status != 404 or not self._ended_as_gone(connection, case, action):
                raise
            return
        with connection.begin():
            context = self._context(connection, case)
            sync.apply(context, rows.get(connection, case_id), snapshot, planner=self.planner)
            schedule.finish(connection, action.id, result="looked")

    def _ended_as_gone(self, connection: Connection, case: Case, action: Action) -> bool:
        """End the case where what it is about was deleted; False where it was not."""
        gone = absences.why_gone(self.gateway, case)
        if gone is None:
            return False
        reason, cause = gone
        log.info("case_has_nothing_left", because=cause)
        with connection.begin():
            schedule.finish(connection, action.id, result=cause)
            absences.end_unreachable(
                connection, case.id, reason, cause=cause, real_now=self.clock()
            )
        return True

    def _hand_back(self, connection: Connection, case_id: str, action: Action) -> None:
        """Back to Stripe as it was found, where the rules would let it be charged."""
        case = self._case(connection, case_id)
        permit = self.gate.permit(case.mode)
        if self._outcome_is_open(connection, case_id, action):
            return
        policy = self.planner.policy_of(case.policy_version)
        invoice = self.gateway.invoice(case.account, case.invoice_id)
        given = invoice.auto_advance
        with connection.begin():
            kept = ownership.refusal(self._context(connection, case), case, policy)
        if case.close_reason == CloseReason.EXHAUSTED and not policy.end.hand_back:
            kept = KEPT_BY_POLICY
        if invoice.status != InvoiceStatus.OPEN or given:
            result = "nothing left to hand back"
        elif kept is not None:
            result = f"not given back to Stripe: {kept}"
        else:
            self.gateway.set_auto_advance(case.account, case.invoice_id, permit=permit, on=True)
            result, given = "Stripe owns the invoice's retries again", True
        with connection.begin():
            # what is not given back stays on record as held by us
            rows.change(
                connection, case_id, taken_over=invoice.status == InvoiceStatus.OPEN and not given
            )
            schedule.finish(connection, action.id, result=result)

    def _keep_off(self, connection: Connection, case_id: str, action: Action) -> None:
        """Nobody charges any more: neither the engine nor, through it, Stripe."""
        case = self._case(connection, case_id)
        permit = self.gate.permit(case.mode)
        invoice = self.gateway.invoice(case.account, case.invoice_id)
        if invoice.status == InvoiceStatus.OPEN and invoice.auto_advance:
            self.gateway.set_auto_advance(case.account, case.invoice_id, permit=permit, on=False)
        with connection.begin():
            rows.change(connection, case_id, taken_over=invoice.status == InvoiceStatus.OPEN)
            schedule.finish(connection, action.id, result=f"nobody charges it: {case.close_reason}")

    def _outcome_is_open(self, connection: Connection, case_id: str, action: Action) -> bool:
        """Whether a charge may still be on its way; then this waits until that is found out."""
        with connection.begin():
            if intents.open_in(connection, case_id) is None:
                return False
            case = rows.get(connection, case_id)
            now = rows.time_of(connection, case, self.clock())
            schedule.plan(connection, case, ActionKind.SETTLE, at=now)
            schedule.put_back(connection, action, at=now + _ASK_AGAIN)
            return True

    def _end(self, connection: Connection, case_id: str, action: Action) -> None:
        """What the policy wants of a case in which all was tried.

        Each step is read again before it is made, so a process that died between two of them is
        followed by one that goes on; whoever has paid meanwhile keeps everything.
        """
        case = self._case(connection, case_id)
        end = self.planner.policy_of(case.policy_version).end
        invoice = self.gateway.invoice(case.account, case.invoice_id)
        if end.subscription == "leave" and not end.mark_uncollectible:
            self._hand_back(connection, case_id, action)
            return
        done: list[str] = []
        permit = self.gate.permit(case.mode)
        stays_open = invoice.status == InvoiceStatus.OPEN and not end.mark_uncollectible
        if invoice.status == InvoiceStatus.OPEN and invoice.amount_remaining > 0:
            # a pause of the engine waits for this lock, and this for its end
            self.database.money_may_move(connection)
            with connection.begin():
                if engine_state.read(connection).paused:
                    schedule.put_back(connection, action)
                    return
            done += self._end_subscription(case, action, invoice, end.subscription, permit)
            if end.mark_uncollectible:
                self.gateway.mark_uncollectible(
                    case.account,
                    case.invoice_id,
                    permit=permit,
                    idempotency_key=f"{OUR_KEYS}end:{action.id}:uncollectible",
                )
                done.append("the invoice is marked uncollectible")
        if stays_open:
            done.append("the invoice stays open and nobody charges it")
        with connection.begin():
            # what is still owed and given to nobody stays on record as held by us
            rows.change(connection, case_id, taken_over=stays_open)
            result = ", ".join(done) or f"nothing to end: the invoice is {invoice.status}"
            schedule.finish(connection, action.id, result=result)

    def _new_default(self, connection: Connection, case_id: str, action: Action) -> None:
        """What a customer paid with takes the place of the default that had failed."""
        case = self._case(connection, case_id)
        try:
            result = self._replace_default(case, action)
        except (StripeForbidden, StripeRejected) as error:
            # it is paid: nobody needs to be called for a convenience
            log.warning("default_not_replaced", error=str(error))
            result = f"the default stays: {error}"
        self._finish(connection, action, result)

    def _replace_default(self, case: Case, action: Action) -> str:
        trail = self.gateway.payment_trail(case.account, case.invoice_id)
        paid = next((c for c in reversed(trail.charges) if c.outcome is Outcome.SUCCEEDED), None)
        method_id = paid.payment_method_id if paid else None
        failed = {c.payment_method_id for c in trail.charges if c.outcome is Outcome.FAILED}
        result = "the default stays"
        if method_id is not None and case.subscription_id is not None:
            found = self.gateway.subscription(case.account, case.subscription_id)
            customer = self.gateway.customer(case.account, case.customer_id)
            default = sync.default_of(None, found, customer)
            saved = self.gateway.payment_method(case.account, method_id)
            if (
                not found.status.is_ended
                and default in failed
                and method_id not in (default, *failed)
                and saved.customer_id == case.customer_id
            ):
                self.gateway.set_default_method(
                    case.account,
                    found.id,
                    method_id,
                    permit=self.gate.permit(case.mode),
                    idempotency_key=f"{OUR_KEYS}new_default:{action.id}",
                )
                result = "the method that paid is the subscription's default now"
        return result

    def _end_subscription(
        self, case: Case, action: Action, invoice: InvoiceFacts, wanted: str, permit: Permit
    ) -> list[str]:
        if wanted == "leave" or invoice.subscription_id is None:
            return []
        found = self.gateway.subscription(case.account, invoice.subscription_id)
        stays = self._why_it_stays(case, invoice, found)
        if stays is not None:
            return [stays]
        key = f"{OUR_KEYS}end:{action.id}:{wanted}"
        if wanted == "cancel":
            self.gateway.cancel_subscription(
                case.account, found.id, permit=permit, idempotency_key=key
            )
            return ["the subscription is cancelled"]
        if found.collection_paused:
            return ["the subscription's collection is paused already"]
        self.gateway.pause_subscription(case.account, found.id, permit=permit, idempotency_key=key)
        return ["the subscription's collection is paused"]

    def _why_it_stays(
        self, case: Case, invoice: InvoiceFacts, found: SubscriptionFacts
    ) -> str | None:
        """Why the subscription is not to be ended for this invoice; None: it is."""
        if found.status.is_ended:
            return f"the subscription is {found.status} already"
        if found.status not in ("past_due", "unpaid"):
            # the customer has come back since, or Stripe has not given it up itself
            return f"the subscription is {found.status} and stays so"
        if self.gateway.has_paid_since(case.account, found.id, after=invoice.created_at):
            # what it is in arrears with now is a later invoice, which has a case of its own
            return "the subscription stays: the customer has paid a later invoice of it"
        return None

    # -- charging

    def _retry(self, connection: Connection, case_id: str, action: Action) -> None:
        assert action.payment_method_id is not None, "a retry names its method"
        with alone(connection):
            case = rows.find(connection, case_id)
            now = rows.time_of(connection, case, self.clock())
            known = intents.before_charging(
                connection,
                case_id=case_id,
                account=case.account,
                method_id=action.payment_method_id,
            )
        policy = self.planner.policy_of(case.policy_version)
        if known.unknown:  # whatever has become of the case: Stripe may have the money
            self._find_out_first(connection, case_id, action, ActionKind.SETTLE)
            return
        if case.state != CaseState.OPEN or case.mode == Mode.HOLDOUT:
            self._finish(
                connection, action, f"the case is {case.state}", state=ActionState.CANCELLED
            )
            return
        if now - action.due_at > timedelta(hours=policy.limits.late_action_hours):
            self._look_again(
                connection, case_id, action, "found too late to be carried out blindly"
            )
            return
        if case.mode == Mode.SHADOW:
            self._shadow(connection, case_id, action)
            return
        # before the intent, which then nothing is in the way of
        permit = self.gate.permit(case.mode)
        if known.processing:
            self._find_out_first(connection, case_id, action, ActionKind.REFRESH)
            return
        changed = self._what_changed(connection, case, action, known)
        if changed is not None:
            self._look_again(connection, case_id, action, changed)
            return
        charges = sync.charges_since(self.gateway, case, now=now)
        intent = self._commit_intent(connection, case_id, action, policy, charges)
        if intent is not None:
            self._send(connection, case, action, intent, permit)

    def _find_out_first(
        self, connection: Connection, case_id: str, action: Action, kind: ActionKind
    ) -> None:
        """A charge of this case is on its way, or its process died: that is found out first."""
        with connection.begin():
            case = rows.get(connection, case_id)
            now = rows.time_of(connection, case, self.clock())
            schedule.finish(connection, action.id, result="an outcome is not known yet")
            schedule.plan(connection, case, kind, at=now)

    def _shadow(self, connection: Connection, case_id: str, action: Action) -> None:
        """Record that the engine would have charged now; nothing is written to Stripe."""
        with connection.begin():
            case = rows.get(connection, case_id)
            schedule.finish(connection, action.id, result="shadow: would have been charged now")
            cases.keep_watch(self._context(connection, case), case)

    def _what_changed(
        self, connection: Connection, case: Case, action: Action, known: BeforeCharging
    ) -> str | None:
        """Whatever Stripe now says that makes the plan stale, in words; None: go ahead."""
        invoice = self.gateway.invoice(case.account, case.invoice_id)
        if invoice.status != InvoiceStatus.OPEN:
            return f"the invoice is {invoice.status}"
        if invoice.amount_remaining != case.amount_remaining:
            return "what is owed has changed"
        if invoice.auto_advance:
            return "Stripe retries this invoice again"
        subscription = sync.subscription_of(self.gateway, case.account, invoice)
        return (
            self._subscription_stopped(subscription)
            or self._method_changed(case, action, known)
            or self._taken_out_another(connection, case, subscription)
        )

    def _taken_out_another(
        self, connection: Connection, case: Case, own: SubscriptionFacts | None
    ) -> str | None:
        found = second_subscriptions.read(self.gateway, case, own, since=case.opened_at)
        if not found:
            return None
        with connection.begin():
            reasons = second_subscriptions.reasons(connection, case, found)
        return reasons[0].text if reasons else None

    def _method_changed(self, case: Case, action: Action, known: BeforeCharging) -> str | None:
        assert action.payment_method_id is not None, "a retry names its method"
        try:
            method = self.gateway.payment_method(case.account, action.payment_method_id)
        except StripeRejected:
            return "the payment method is gone"
        if method.customer_id != case.customer_id:
            return "the payment method was detached"
        data = ("card_fingerprint", "card_exp_year", "card_exp_month")
        if known.method_known and any(getattr(known, n) != getattr(method, n) for n in data):
            return "the card was replaced"
        return None

    @staticmethod
    def _subscription_stopped(subscription: SubscriptionFacts | None) -> str | None:
        if subscription is None:
            return None
        if subscription.status.is_ended:
            return f"the subscription is {subscription.status}"
        return "collection is paused in Stripe" if subscription.collection_paused else None

    def _commit_intent(
        self,
        connection: Connection,
        case_id: str,
        action: Action,
        policy: Policy,
        charges: Sequence[ChargeFacts],
    ) -> Intent | None:
        """The last check and the intent, in one transaction; None where it may not be.

        `charges` are the customer's since the last look: what others tried meanwhile counts too.
        """
        with connection.begin():
            case, paused = rows.get_with_switch(connection, case_id)
            context = self._context(connection, case)
            if paused:
                schedule.put_back(connection, action)
                return None
            if case.state != CaseState.OPEN:
                schedule.finish(connection, action.id, result=f"the case is {case.state}")
                return None
            sync.record_charges(
                connection, case.account, case.customer_id, charges, now=context.now
            )
            # who charges the same card for another invoice sees this intent, or is seen by it
            intents.lock_card(connection, case.account, action.payment_method_id)
            view = view_of(context, case)
            refusal = refusal_of(
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
                self.planner.plan(context, case)
                return None
            if _gives_way(context, case, action, policy):
                return None
            return _write_intent(context, case, action, view)

    def _send(
        self,
        connection: Connection,
        case: Case,
        action: Action,
        intent: Intent,
        permit: Permit,
    ) -> None:
        fence = Fence(connection=connection, attempt_id=intent.id, clock=self.clock)
        try:
            result: PayResult | None = self.gateway.pay(
                case.account,
                case.invoice_id,
                method_id=intent.payment_method_id,
                permit=permit,
                idempotency_key=intent.idempotency_key,
                before_sending=fence,
            )
            refused = None
        except SendingForbidden as forbidden:
            if fence.has_sent:
                self._leave_unknown(connection, case.id, action, intent, str(forbidden))
            else:
                self._never_sent(connection, case.id, action, intent, str(forbidden))
            return
        except StripeUnavailable as error:
            self._leave_unknown(connection, case.id, action, intent, str(error))
            return
        except StripeRejected as error:
            result, refused = None, str(error)
        answer = _Answer(intent=intent, result=result, refused=refused or "refused")
        try:
            self._write_answer(connection, case.id, action, answer)
        except CONNECTION_LOST as error:
            log.warning("connection_lost_with_an_answer", attempt=intent.id, error=str(error)[:200])
            self._write_answer_apart(case.id, action, answer)

    def _write_answer_apart(self, case_id: str, action: Action, answer: "_Answer") -> None:
        """The connection was lost while Stripe answered: the answer is written on another.

        Unless somebody is settling the intent already: they find it in Stripe's record.
        """
        with self.database.case_lock(case_id, wait_seconds=5.0) as connection:
            with connection.begin():
                standing = intents.open_in(connection, case_id)
            if standing is not None and standing.id == answer.intent.id:
                self._write_answer(connection, case_id, action, answer)

    def _write_answer(
        self, connection: Connection, case_id: str, action: Action, answer: "_Answer"
    ) -> None:
        with connection.begin():
            case = rows.get(connection, case_id)
            context = self._context(connection, case)
            result, intent = answer.result, answer.intent
            if result is None:
                self._nothing_was_done(context, case, action, intent, answer.refused)
                return
            log.info("attempt_settled", outcome=result.outcome, decline_code=result.decline_code)
            # first, as the next retry is planned in its place
            schedule.finish(connection, action.id, result=result.outcome)
            settle.settle(context, case, intent.id, result, planner=self.planner)

    def _never_sent(
        self, connection: Connection, case_id: str, action: Action, intent: Intent, because: str
    ) -> None:
        """The brake was pulled between the intent and its request: nothing was sent."""
        log.info("charge_not_sent", attempt=intent.id, because=because)
        with connection.begin():
            case, paused = rows.get_with_switch(connection, case_id)
            attempts.change(
                connection,
                intent.id,
                abandoned=True,
                outcome=Outcome.FAILED,
                resolved_at=self.clock(),
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
                    connection, case, ActionKind.REFRESH, at=self._context(connection, case).now
                )

    def _leave_unknown(
        self, connection: Connection, case_id: str, action: Action, intent: Intent, error: str
    ) -> None:
        log.warning("outcome_unknown", attempt=intent.id, error=error)
        with connection.begin():
            case = rows.get(connection, case_id)
            context = self._context(connection, case)
            attempts.change(connection, intent.id, error=error[:500])
            schedule.finish(connection, action.id, result=f"outcome unknown: {error}")
            schedule.plan(connection, case, ActionKind.SETTLE, at=context.now)

    def _nothing_was_done(
        self, context: CaseContext, case: Case, action: Action, intent: Intent, error: str
    ) -> None:
        """Stripe refused the request as such: look again, and ask a person if that goes on."""
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
            policy = self.planner.policy_of(case.policy_version)
            cases.hold(
                context,
                case,
                reason=f"Stripe keeps refusing the request: {error}",
                proposal={"action": "resume"},
                policy=policy,
            )
            return
        schedule.plan(context.connection, case, ActionKind.REFRESH, at=context.now)

    # -- finding out

    def find_out(self, case_id: str) -> None:
        """Write an open charge's outcome down if Stripe's record has it; it is not sent again.

        Raises:
            CaseBusy: somebody is at work on the case, and will do so.
            StripeUnavailable, StripeForbidden: not known yet.
        """
        with self.database.case_lock(case_id) as connection:
            case = self._case(connection, case_id)
            with connection.begin():
                intent = intents.open_in(connection, case_id)
            if intent is not None:
                trail = self.gateway.payment_trail(case.account, case.invoice_id)
                self._found_in_record(connection, case_id, None, intent, trail)

    def _settle(self, connection: Connection, case_id: str, action: Action) -> None:
        case = self._case(connection, case_id)
        intent = intents.open_in(connection, case_id)
        connection.rollback()
        if intent is None:
            self._finish(connection, action, "already known")
            return
        trail = self.gateway.payment_trail(case.account, case.invoice_id)
        if self._found_in_record(connection, case_id, action, intent, trail):
            return
        if self._may_repeat(connection, case, intent):
            self._repeat(connection, case_id, action, intent)
            return
        if settle.is_settled_by_silence(intent, real_now=self.clock()):
            with connection.begin():
                case = rows.get(connection, case_id)
                settle.abandon(
                    self._context(connection, case),
                    case,
                    intent,
                    because="Stripe's record shows no such charge",
                    planner=self.planner,
                )
                self._after_settling(connection, case_id, action, "never happened")
            return
        with connection.begin():
            schedule.hold(
                connection, action.id, until=self.clock() + _ASK_AGAIN, result="not known yet"
            )

    def _found_in_record(
        self,
        connection: Connection,
        case_id: str,
        action: Action | None,
        intent: Intent,
        trail: PaymentTrail,
    ) -> bool:
        with connection.begin():
            case = rows.get(connection, case_id)
            context = self._context(connection, case)
            ids = [c.id for c in trail.charges]
            known = attempts.known_charges(connection, case.account, ids)
            origins = inbox.origins_of(connection, ids)
            found = settle.find_in_record(trail, intent, known, origins)
            if found is None:
                return False
            if action is None:  # nobody's: the dead worker's own would stand in the next plan's way
                schedule.cancel_claimed_retry(connection, case_id, result="its outcome was found")
            sync.learn(context, intent, found)
            log.info("outcome_found", attempt=intent.id, outcome=found.outcome)
            settle.after_outcome(context, case, found.outcome, planner=self.planner)
            self._after_settling(connection, case_id, action, f"found: {found.outcome}")
            return True

    def _may_repeat(self, connection: Connection, case: Case, intent: Intent) -> bool:
        """The same key again can only ever be the same charge; still, it must be allowed now."""
        with connection.begin():
            case = rows.get(connection, case.id)
            now = rows.time_of(connection, case, self.clock())
            policy = self.planner.policy_of(case.policy_version)
            if (
                case.state != CaseState.OPEN
                or self.gate.refusal(case.mode) is not None
                or engine_state.read(connection).paused
                or not settle.may_repeat(intent, real_now=self.clock())
                or now - intent.at > timedelta(hours=policy.limits.late_action_hours)
            ):
                return False
            view = view_of(self._context(connection, case), case)
            others = tuple(a for a in view.attempts if a.idempotency_key != intent.idempotency_key)
            view = replace(view, attempts=others)
            return refusal_of(view, intent.payment_method_id, at=now, policy=policy) is None

    def _repeat(self, connection: Connection, case_id: str, action: Action, intent: Intent) -> None:
        case = self._case(connection, case_id)
        permit = self.gate.permit(case.mode)
        fence = Fence(connection=connection, attempt_id=intent.id, clock=self.clock)
        try:
            # StripeUnavailable goes up: the action is held and this is asked once more
            result = settle.repeat(self.gateway, case, intent, permit=permit, before_sending=fence)
        except SendingForbidden as forbidden:
            with connection.begin():
                until = self.clock() + _ASK_AGAIN
                schedule.hold(connection, action.id, until=until, result=str(forbidden))
            return
        with connection.begin():
            case = rows.get(connection, case_id)
            context = self._context(connection, case)
            if result is None:
                settle.abandon(
                    context,
                    case,
                    intent,
                    because="Stripe refuses the request: it was never carried out",
                    planner=self.planner,
                )
                self._after_settling(connection, case_id, action, "never happened")
                return
            settle.settle(context, case, intent.id, result, planner=self.planner)
            self._after_settling(connection, case_id, action, f"asked again: {result.outcome}")

    def _after_settling(
        self, connection: Connection, case_id: str, action: Action | None, result: str
    ) -> None:
        """What waited for this outcome (an event, an end) is looked at now."""
        if action is not None:
            schedule.finish(connection, action.id, result=result)
        case = rows.get(connection, case_id)
        if case.is_living:
            now = rows.time_of(connection, case, self.clock())
            schedule.plan(connection, case, ActionKind.REFRESH, at=now)

    # -- small parts

    def _case(self, connection: Connection, case_id: str) -> Case:
        with connection.begin() if not connection.in_transaction() else nullcontext():
            return rows.find(connection, case_id)

    def _now(self, connection: Connection, case: Case) -> datetime:
        with connection.begin() if not connection.in_transaction() else nullcontext():
            return rows.time_of(connection, case, self.clock())

    @staticmethod
    def _is_paused(connection: Connection) -> bool:
        with connection.begin():
            return engine_state.read(connection).paused

    def _context(self, connection: Connection, case: Case) -> CaseContext:
        real_now = self.clock()
        now = rows.time_of(connection, case, real_now)
        return CaseContext(connection=connection, now=now, real_now=real_now)

    def _finish(
        self,
        connection: Connection,
        action: Action,
        result: str,
        *,
        state: ActionState = ActionState.DONE,
    ) -> None:
        with connection.begin():
            schedule.finish(connection, action.id, result=result, state=state)

    def _look_again(
        self, connection: Connection, case_id: str, action: Action, because: str
    ) -> None:
        """The plan is stale: give it up and look at everything anew, at once."""
        log.info("plan_is_stale", because=because)
        with connection.begin():
            case = rows.get(connection, case_id)
            schedule.finish(connection, action.id, result=because, state=ActionState.CANCELLED)
            now = rows.time_of(connection, case, self.clock())
            schedule.plan(connection, case, ActionKind.REFRESH, at=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What Stripe said to one charge; without a result it refused the request as such."""

    intent: Intent
    result: PayResult | None
    refused: str


def refusal_of(
    view: CaseView,
    method_id: str | None,
    *,
    at: datetime,
    policy: Policy,
    by_person: bool = False,
) -> AttemptRefused | None:
    """The rule that forbids charging that method then, as an error to raise or to record.

    Of a charge that a person wants only what binds is asked: see `warnings_of`.
    """
    method = view.method(method_id)
    if method is None:
        return AttemptRefused(
            f"payment method {method_id} is not one of the customer's",
            rule="method_is_gone",
            allowed_from=None,
        )
    spans = network_rules.forbidden(view, method, policy=policy)
    forbidden = network_rules.longest_at(network_rules.binding(spans) if by_person else spans, at)
    if forbidden is None:
        return None
    until = f", until {forbidden.until:%Y-%m-%d %H:%M} UTC" if forbidden.until else ""
    return AttemptRefused(
        f"{forbidden.detail} (rule {forbidden.rule}{until})",
        rule=forbidden.rule,
        allowed_from=forbidden.until,
    )


def warnings_of(
    view: CaseView, method_id: str | None, *, at: datetime, policy: Policy
) -> list[str]:
    """What this engine's own pacing has against that charge, one text for each rule."""
    method = view.method(method_id)
    spans = network_rules.forbidden(view, method, policy=policy) if method is not None else ()
    against = {s.rule: s for s in spans if s.kind is network_rules.Kind.PACING and s.holds_at(at)}
    return [f"{span.detail} (rule {span.rule})" for span in against.values()]


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
