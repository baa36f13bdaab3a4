"""Everything Stripe says of a case's invoice is read in one go, and written down as it is.

Events come twice, late, in any order and in old shapes; so none of them is applied as such. Each
only says "look again", and looking twice changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from retry_engine.domain.errors import StripeRejected
from retry_engine.domain.modes import Mode
from retry_engine.domain.policy import Policy
from retry_engine.recovery import observed_charges
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.charging import ownership, second_subscriptions
from retry_engine.recovery.gate import Gate
from retry_engine.recovery.gateway import (
    ChargeFacts,
    CustomerFacts,
    Gateway,
    InvoiceFacts,
    MethodFacts,
    PaymentTrail,
    SubscriptionFacts,
    default_method_of,
)
from retry_engine.store import cases as rows
from retry_engine.store import payment_methods
from retry_engine.store.cases import Case
from retry_engine.store.payment_methods import MethodRow, MethodValues

_CARD_LOOK_BACK = timedelta(days=180)


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceSnapshot:
    """Everything Stripe says of a case's invoice, read in one go."""

    invoice: InvoiceFacts
    trail: PaymentTrail
    customer: CustomerFacts
    methods: Sequence[MethodFacts]
    subscription: SubscriptionFacts | None
    taken_out_since: Sequence[SubscriptionFacts]  # others to the same product
    other_charges: Sequence[ChargeFacts]
    mandates: dict[str, bool]
    read_at: datetime
    auto_advance_found: bool  # before ownership was taken on the way

    @property
    def default_method_id(self) -> str | None:
        """Which method Stripe itself would charge."""
        return default_method_of(self.invoice, self.subscription, self.customer)


def read(
    gateway: Gateway, case: Case, *, gate: Gate, now: datetime, paused: bool = False
) -> InvoiceSnapshot:
    """Ask Stripe for the whole picture; taking ownership of it on the way if it is ours to.

    Not while the engine is `paused`: nobody knows for how long, and an invoice that neither Stripe
    nor the engine retries is nobody's. Resuming looks at it again.

    The other charges of the customer count against the networks' limits of their cards: half a year
    of them at the first look, then those since the last one.
    """
    invoice = gateway.invoice(case.account, case.invoice_id)
    found = invoice.auto_advance
    if not paused:
        invoice = ownership.take(gateway, case, invoice, gate=gate)
    trail = gateway.payment_trail(case.account, case.invoice_id)
    customer = gateway.customer(case.account, case.customer_id)
    subscription = subscription_of(gateway, case.account, invoice)
    failed_at = min([case.opened_at, *(c.created_at for c in trail.charges[:1])])
    return InvoiceSnapshot(
        invoice=invoice,
        trail=trail,
        customer=customer,
        methods=_methods(gateway, case, default_method_of(invoice, subscription, customer)),
        subscription=subscription,
        taken_out_since=second_subscriptions.read(gateway, case, subscription, since=failed_at),
        other_charges=charges_since(gateway, case, now=now),
        mandates=_mandates(gateway, case.account, trail.charges),
        read_at=now,
        auto_advance_found=found,
    )


def charges_since(gateway: Gateway, case: Case, *, now: datetime) -> Sequence[ChargeFacts]:
    """What the customer was charged since the last look, for whatever and by whomever."""
    since = now - _CARD_LOOK_BACK
    if case.charges_read_at is not None:
        since = max(since, case.charges_read_at - observed_charges.MATCH_AFTER)
    return gateway.customer_charges(case.account, case.customer_id, since=since)


def _methods(gateway: Gateway, case: Case, default_id: str | None) -> Sequence[MethodFacts]:
    """What the customer has saved, with a default of older making that Stripe does not list."""
    saved = gateway.payment_methods(case.account, case.customer_id)
    if default_id is None or any(m.id == default_id for m in saved):
        return saved
    try:
        default = gateway.payment_method(case.account, default_id)
    except StripeRejected:
        return saved
    return [*saved, default] if default.customer_id == case.customer_id else saved


def subscription_of(
    gateway: Gateway, account: str, invoice: InvoiceFacts
) -> SubscriptionFacts | None:
    """The invoice's subscription, asked for where it did not come along."""
    if invoice.subscription is not None or invoice.subscription_id is None:
        return invoice.subscription
    return gateway.subscription(account, invoice.subscription_id)


def _mandates(gateway: Gateway, account: str, charges: Sequence[ChargeFacts]) -> dict[str, bool]:
    """By payment method: whether the mandate it was last charged under is still active."""
    wanted = {c.payment_method_id: c.mandate_id for c in charges if c.mandate_id}
    found: dict[str, bool] = {}
    for method_id, mandate_id in wanted.items():
        active = gateway.mandate_active(account, mandate_id) if mandate_id else None
        if method_id is not None and active is not None:
            found[method_id] = active
    return found


def record(context: CaseContext, case: Case, snapshot: InvoiceSnapshot, policy: Policy) -> Case:
    """Write down what was read, whatever it means; the case with its new facts."""
    case = _update_facts(context, case, snapshot, policy)
    _record_methods(context, case, snapshot)
    observed_charges.record_trail(context, case, snapshot.trail)
    observed_charges.record(
        context.connection, case.account, case.customer_id, snapshot.other_charges, now=context.now
    )
    return case


# -- facts of the case


def _update_facts(
    context: CaseContext, case: Case, snapshot: InvoiceSnapshot, policy: Policy
) -> Case:
    invoice, customer = snapshot.invoice, snapshot.customer
    values: dict[str, Any] = {
        "subscription_id": invoice.subscription_id,
        "payment_intent_id": snapshot.trail.payment_intent_id or case.payment_intent_id,
        "stripe_next_attempt_at": invoice.next_payment_attempt if invoice.auto_advance else None,
        "taken_over": case.taken_over or (case.mode == Mode.TAKEOVER and not invoice.auto_advance),
        "auto_advance_found": bool(case.auto_advance_found) or snapshot.auto_advance_found,
        "default_method_id": snapshot.default_method_id,
        "billing_reason": invoice.billing_reason,
        "customer_country": customer.country or _card_country(snapshot),
        "customer_timezone": customer.timezone,
        "customer_since": customer.created_at,
        "enriched": True,
        "charges_read_at": snapshot.read_at,
    }
    if snapshot.subscription is not None:
        values["billing_interval"] = snapshot.subscription.interval
    if case.is_living:
        # a closed case keeps what was owed at its end
        values["amount_remaining"] = max(invoice.amount_remaining, 0)
        paid = invoice.amount_paid - case.amount_paid_at_open
        values["amount_recovered"] = max(paid, 0)
    if not case.enriched:
        values |= _opening_times(context, case, snapshot, policy)
    return rows.change(context.connection, case.id, **values)


def _opening_times(
    context: CaseContext, case: Case, snapshot: InvoiceSnapshot, policy: Policy
) -> dict[str, datetime]:
    """A case opens when its payment failed, not when a late event told us."""
    first = snapshot.trail.charges[0].created_at if snapshot.trail.charges else case.opened_at
    opened = min(first, context.now)
    if context.now - opened > timedelta(days=policy.limits.horizon_days) / 2:
        opened = context.now
    return {
        "opened_at": opened,
        "deadline_at": opened + timedelta(days=policy.limits.horizon_days),
    }


def _card_country(snapshot: InvoiceSnapshot) -> str | None:
    default = snapshot.default_method_id
    known = [m for m in snapshot.methods if m.card_country]
    chosen = next((m for m in known if m.id == default), known[0] if known else None)
    return chosen.card_country if chosen else None


# -- payment methods


def _record_methods(context: CaseContext, case: Case, snapshot: InvoiceSnapshot) -> None:
    for facts in snapshot.methods:
        known = payment_methods.get(context.connection, case.account, facts.id)
        mandate = snapshot.mandates.get(facts.id)
        _put_method(context, case, facts, known, mandate=mandate, trail=snapshot.trail)
    payment_methods.detach_missing(
        context.connection,
        case.account,
        case.customer_id,
        present=[m.id for m in snapshot.methods],
        at=context.now,
    )


def _put_method(
    context: CaseContext,
    case: Case,
    facts: MethodFacts,
    known: MethodRow | None,
    *,
    mandate: bool | None,
    trail: PaymentTrail,
) -> None:
    values: MethodValues = {
        "account": case.account,
        "id": facts.id,
        "customer_id": case.customer_id,
        "type": facts.type,
        "card_brand": facts.card_brand,
        "card_funding": facts.card_funding,
        "card_country": facts.card_country,
        "card_exp_year": facts.card_exp_year,
        "card_exp_month": facts.card_exp_month,
        "card_fingerprint": facts.card_fingerprint,
        "blocked_reason": facts.blocked_reason,
        "detached_at": None,
    }
    if mandate is not None:
        values["mandate_active"] = mandate
    data = ("card_exp_year", "card_exp_month", "card_fingerprint", "blocked_reason")
    if known is None:
        values["added_at"] = facts.created_at
    elif any(getattr(known, name) != getattr(facts, name) for name in data):
        values["changed_at"] = _changed_at(context, case, facts, trail)
    payment_methods.put(context.connection, **values)


def _changed_at(
    context: CaseContext, case: Case, facts: MethodFacts, trail: PaymentTrail
) -> datetime:
    """When the data changed: before the first charge of the new card, else just now."""
    on_new = [
        c.created_at
        for c in trail.charges
        if c.payment_method_id == facts.id
        and facts.card_fingerprint is not None
        and _card(c) == _card(facts)
    ]
    if on_new:
        return min(on_new) - timedelta(seconds=1)
    return observed_charges.moment_of_change(
        context.connection, case.account, facts.id, context.now
    )


def _card(of: ChargeFacts | MethodFacts) -> tuple[str | None, int | None, int | None]:
    return of.card_fingerprint, of.card_exp_year, of.card_exp_month
