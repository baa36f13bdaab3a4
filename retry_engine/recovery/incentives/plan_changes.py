"""What customers change by themselves on the recovery page: another billing day, or a pause.

    taking ── Stripe has changed the subscription ── taken
      │
      Stripe will not: refused

The rules of an offer hold: the intent first, what it is worth inside the budgets, the `change`
action goes on where a process died. Each can be had once about an invoice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import Connection

from retry_engine.domain import codes, money
from retry_engine.domain.actions import ActionKind
from retry_engine.domain.codes import Category
from retry_engine.domain.errors import Refused, StripeRejected
from retry_engine.domain.offers import Change, OfferState
from retry_engine.domain.policy import Offers
from retry_engine.domain.stripe_states import SubscriptionStatus
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.gate import Gate, Permit
from retry_engine.recovery.gateway import OUR_KEYS, Gateway, SubscriptionFacts
from retry_engine.recovery.incentives.saga import TAKEABLE, Made, NotMade, Saga, Step
from retry_engine.store import attempts, engine_state, intents, offers, schedule
from retry_engine.store import cases as rows
from retry_engine.store.cases import Case
from retry_engine.store.database import Database
from retry_engine.store.offers import StoredChange
from retry_engine.store.schedule import Action

log = structlog.get_logger()

_MONTH = timedelta(days=30)
_CAN_BE_CHANGED = (
    SubscriptionStatus.ACTIVE,
    SubscriptionStatus.PAST_DUE,
    SubscriptionStatus.TRIALING,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the page lets the customer change. `days`: first renewals to choose from."""

    days: tuple[datetime, ...] = ()
    pause_until: datetime | None = None
    made: tuple[StoredChange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanChanges:
    """Each on a connection that holds the case's lock, but `choices`."""

    database: Database
    gateway: Gateway
    terms_of: Callable[[str], Offers]
    gate: Gate
    clock: Callable[[], datetime]

    def choices(self, case_id: str) -> Choices:
        """What could be changed now; looks at Stripe only where the policy lets anything be.

        Raises:
            StripeUnavailable: it cannot be said.
        """
        with self.database.transaction() as connection:
            case = rows.get(connection, case_id)
            terms = self.terms_of(case.policy_version)
            made = tuple(offers.changes_of_case(connection, case_id))
            offered = {
                Change.BILLING_DAY: terms.free_days > 0 and self._is_short(connection, case),
                Change.PAUSE: terms.pause_months > 0,
            }
            kinds = {kind for kind, is_offered in offered.items() if is_offered}
            kinds -= {change.kind for change in made}
            possible = bool(kinds) and self._not_now(connection, case) is None
            now = rows.time_of(connection, case, self.clock())
        found = self._subscription(case) if possible else None
        if found is None:
            return Choices(made=made)
        return Choices(
            days=_days(found, terms.free_days, now) if Change.BILLING_DAY in kinds else (),
            pause_until=now + _MONTH * terms.pause_months if Change.PAUSE in kinds else None,
            made=made,
        )

    def take(
        self, connection: Connection, case_id: str, kind: Change, *, day: datetime | None = None
    ) -> StoredChange:
        """The customer wants it; `day` is one of the choices.

        Raises:
            Refused: it cannot be had, or not now; nothing was changed.
            StripeUnavailable: nothing was changed.
        """
        self.database.money_may_move(connection)
        choices = self.choices(case_id)
        before = next((change for change in choices.made if change.kind == kind), None)
        if before is not None:
            return before  # pressed twice
        until = choices.pause_until
        if kind is Change.BILLING_DAY:
            until = day if day in choices.days else None
        with connection.begin():
            case = rows.get(connection, case_id)
        found = self._subscription(case)
        if until is None or found is None:
            raise Refused("this cannot be changed (any more)")
        intend = partial(self._intend, kind=kind, until=until, found=found)
        self._saga.take(connection, case_id, intend)
        with connection.begin():
            change = _present(connection, case_id, kind)
        if change.state == OfferState.REFUSED:
            raise Refused("this cannot be changed")
        return change

    def run(self, connection: Connection, action: Action) -> None:
        """Carry out a claimed `change`.

        Raises:
            StripeUnavailable, StripeForbidden: not known or not possible now; it is to be held.
        """
        if self._saga.go_on(connection, action, self._under_way):
            with connection.begin():
                schedule.finish(connection, action.id, result="done")

    @property
    def _saga(self) -> Saga:
        return Saga(
            kind=ActionKind.CHANGE, database=self.database, gate=self.gate, clock=self.clock
        )

    def _under_way(self, connection: Connection, case: Case) -> Sequence[Step]:
        made = offers.changes_of_case(connection, case.id)
        return [self._step(change) for change in made if change.state == OfferState.TAKING]

    def _step(self, change: StoredChange) -> Step:
        return Step(
            sent_at=change.sent_at,
            find=partial(self._made_as, change),
            make=partial(self._make, change),
            settle=partial(_settle, change),
        )

    def _intend(
        self,
        context: CaseContext,
        case: Case,
        paused: bool,
        *,
        kind: Change,
        until: datetime,
        found: SubscriptionFacts,
    ) -> Step:
        if paused or self._not_now(context.connection, case) is not None:
            raise Refused("this cannot be changed at the moment")
        return self._step(self._begin(context, case, kind, until, found))

    def _begin(
        self,
        context: CaseContext,
        case: Case,
        kind: Change,
        until: datetime,
        found: SubscriptionFacts,
    ) -> StoredChange:
        terms = self.terms_of(case.policy_version)
        worth = _worth(case, found, until) if kind is Change.BILLING_DAY else 0
        if worth > terms.case_budget:
            raise Refused("this costs more than may be given")
        change = offers.reserve_change(
            context.connection,
            month_budget=terms.month_budget,
            customer_budget=terms.customer_budget,
            case_id=case.id,
            account=case.account,
            customer_id=case.customer_id,
            subscription_id=found.id,
            kind=kind,
            at=context.now,
            until=until,
            amount=worth,
            currency=case.currency,
            sent_at=context.real_now,
        )
        if change is None:
            raise Refused("this cannot be given at the moment")
        return change

    def _make(self, change: StoredChange, _case: Case, permit: Permit) -> str:
        key = f"{OUR_KEYS}change:{change.case_id}:{change.id}"
        of = (change.account, change.subscription_id)
        if change.kind is Change.PAUSE:
            self.gateway.pause_subscription(
                *of, until=change.until, permit=permit, idempotency_key=key
            )
        else:
            self.gateway.move_renewals(*of, to=change.until, permit=permit, idempotency_key=key)
        return change.subscription_id

    def _made_as(self, change: StoredChange, _case: Case) -> str | None:
        """The subscription's id where it is changed already."""
        found = self.gateway.subscription(change.account, change.subscription_id)
        is_made = (
            found.collection_paused
            if change.kind is Change.PAUSE
            else found.trial_ends_at == change.until
        )
        return found.id if is_made else None

    def _not_now(self, connection: Connection, case: Case) -> str | None:
        if case.state not in TAKEABLE or case.subscription_id is None:
            return f"the case is {case.state}"
        refused = self.gate.refusal(case.mode)
        if refused is not None:
            return str(refused)
        if intents.open_in(connection, case.id) is not None:
            return "a payment is under way"
        return "the engine is paused" if engine_state.read(connection).paused else None

    @staticmethod
    def _is_short(connection: Connection, case: Case) -> bool:
        code = attempts.last_decline_code(connection, case.id)
        return code is not None and codes.as_told(code).category is Category.INSUFFICIENT_FUNDS

    def _subscription(self, case: Case) -> SubscriptionFacts | None:
        if case.subscription_id is None:
            return None
        try:
            found = self.gateway.subscription(case.account, case.subscription_id)
        except StripeRejected:
            return None
        usable = found.status in _CAN_BE_CHANGED and not found.collection_paused
        return found if usable and found.period_ends_at is not None else None


def _settle(
    change: StoredChange, context: CaseContext, _case: Case, outcome: Made | NotMade
) -> None:
    refused = outcome.why if isinstance(outcome, NotMade) else None
    state = OfferState.TAKEN if refused is None else OfferState.REFUSED
    offers.settle_change(context.connection, change.id, state, error=refused)
    log.info("change", kind=change.kind, state=state, error=refused)


def _days(found: SubscriptionFacts, most: int, now: datetime) -> tuple[datetime, ...]:
    """The next renewal so many days later; the days that every month has."""
    if found.period_ends_at is None or found.period_ends_at <= now:
        return ()
    later = (found.period_ends_at + timedelta(days=days) for days in range(1, most + 1))
    return tuple(at for at in later if at.day <= 28)


def _worth(case: Case, found: SubscriptionFacts, until: datetime) -> int:
    """What the days between cost at the invoice's price, minor units, rounded up."""
    starts, ends = found.period_starts_at, found.period_ends_at
    if starts is None or ends is None or ends <= starts:
        return case.amount_remaining
    step = money.step(case.currency)
    given, period = int((until - ends).total_seconds()), int((ends - starts).total_seconds())
    return -(-case.amount_remaining * given // (period * step)) * step


def _present(connection: Connection, case_id: str, kind: Change) -> StoredChange:
    found = offers.change_of_case(connection, case_id, kind)
    assert found is not None, "a change is never deleted"
    return found
