"""Whether a renewal's charge is likely to fail, from what is recorded and what Stripe adds to it.

Only a method whose last known charge failed is looked at; one that went through since is no risk,
whoever charged it. The charges that no case was about are read from Stripe, and kept.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from retry_engine.domain import money, network_rules
from retry_engine.domain.attempts import Attempt, Outcome
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.renewal_risk import RenewalRisk
from retry_engine.recovery import observed_charges
from retry_engine.recovery.case_view import read_view
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.gateway import ChargeFacts, Gateway, MethodFacts
from retry_engine.store import attempts, payment_methods, risk_flags
from retry_engine.store import cases as rows
from retry_engine.store.database import Database

_DECLINED = (Outcome.FAILED, Outcome.REQUIRES_ACTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """A renewal that has been announced, and the method that Stripe will charge."""

    account: str
    customer_id: str
    subscription_id: str
    method: MethodFacts
    at: datetime
    amount: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalRisks:
    """`risk` asks the model in use; None is its answer where nobody is to be written to.

    `distrust`: for how long a dispute or an early fraud warning keeps us from writing.
    """

    database: Database
    gateway: Gateway
    risk: Callable[[CaseView, PaymentMethod, datetime], RenewalRisk | None]
    distrust: timedelta

    def of(self, coming: Coming, *, now: datetime) -> RenewalRisk | None:
        """The risk of its charge; None where nothing speaks against it, or nobody is to know.

        Raises:
            StripeUnavailable, StripeForbidden, StripeRejected: the charges since were not read.
        """
        if coming.amount < max(money.minimum_charge(coming.currency), 1):
            return None  # nothing is charged
        with self.database.transaction() as connection:
            last = self._last_if_declined(connection, coming, now)
        if last is None:
            return None
        since = self.gateway.customer_charges(coming.account, coming.customer_id, since=last)
        with self.database.transaction() as connection:
            if self._last_if_declined(connection, coming, now) is None:
                return None  # a case has opened meanwhile
            observed_charges.record(connection, coming.account, coming.customer_id, since, now=now)
            if any(_went_through(charge, coming.method) for charge in since):
                return None
            if self._is_distrusted(connection, coming, now):
                return None
            asked = _question(connection, coming, now)
        return self.risk(*asked, coming.at) if asked else None

    @staticmethod
    def _last_if_declined(connection: Connection, coming: Coming, now: datetime) -> datetime | None:
        """When the method was last tried, if that failed and no case is about it now."""
        if rows.living_ids(connection, coming.account, customer_id=coming.customer_id):
            return None
        method = coming.method
        last = attempts.last_on_card(
            connection, coming.account, method.id, method.card_fingerprint, until=now
        )
        return last.at if last is not None and last.outcome in _DECLINED else None

    def _is_distrusted(self, connection: Connection, coming: Coming, now: datetime) -> bool:
        flags = risk_flags.standing(
            connection, coming.account, coming.customer_id, since=now - self.distrust
        )
        return bool(flags)


def _question(
    connection: Connection, coming: Coming, now: datetime
) -> tuple[CaseView, PaymentMethod] | None:
    """The last case with that method as if its invoice were still owed, and the method as it is."""
    method = _as_known(connection, coming.method, coming.account)
    case = rows.last_with_method(
        connection,
        coming.account,
        coming.customer_id,
        subscription_id=coming.subscription_id,
        method_id=coming.method.id,
        fingerprint=coming.method.card_fingerprint,
        until=now,
    )
    if case is None or method is None:
        return None
    known = read_view(CaseContext(connection=connection, now=now, real_now=now), case)
    view = replace(
        known,
        now=now,
        deadline_at=coming.at + timedelta(hours=1),
        amount=coming.amount,
        currency=coming.currency,
        # what paid it was another method: the question is what this one would have done
        attempts=tuple(a for a in _until(known.attempts, now) if a.outcome in _DECLINED),
        card_attempts=_until(known.card_attempts, now),
        payment_methods=(method,),
        billing_reason="subscription_cycle",
        invoice_created_at=None,
        stripe_next_attempt_at=None,
        messages=(),
        offers=(),
    )
    on_card = _until(known.attempts_on(method), now)
    declines = network_rules.declines_of(view, method)
    if not view.attempts or not declines or on_card[-1] != declines[-1]:
        return None
    return view, method


def _until(attempts: tuple[Attempt, ...], now: datetime) -> tuple[Attempt, ...]:
    return tuple(a for a in attempts if a.at <= now)


def _as_known(connection: Connection, facts: MethodFacts, account: str) -> PaymentMethod | None:
    """The method as Stripe has it now, with what only the record knows; None: its data is new."""
    row = payment_methods.get(connection, account, facts.id)
    data = ("card_exp_year", "card_exp_month", "card_fingerprint", "blocked_reason")
    if row is not None and any(getattr(row, name) != getattr(facts, name) for name in data):
        return None
    expiry = (facts.card_exp_year, facts.card_exp_month)
    return PaymentMethod(
        id=facts.id,
        type=facts.type,
        card_brand=facts.card_brand,
        card_funding=facts.card_funding,
        card_country=facts.card_country,
        card_exp=(expiry[0], expiry[1]) if expiry[0] and expiry[1] else None,
        card_fingerprint=facts.card_fingerprint,
        is_default=True,
        added_at=facts.created_at,
        changed_at=row.changed_at if row else None,
        authenticated_at=row.authenticated_at if row else None,
        mandate_active=row.mandate_active if row else None,
        blocked_reason=facts.blocked_reason,
    )


def _went_through(charge: ChargeFacts, method: MethodFacts) -> bool:
    same = charge.payment_method_id == method.id or (
        charge.card_fingerprint is not None and charge.card_fingerprint == method.card_fingerprint
    )
    return same and charge.outcome is Outcome.SUCCEEDED
