"""What the engine needs of Stripe, in the field's words; `adapters.stripe` provides it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from retry_engine.domain.attempts import Outcome
from retry_engine.domain.stripe_states import CollectionMethod, InvoiceStatus, SubscriptionStatus
from retry_engine.recovery.gate import Permit

# Begins every idempotency key of ours: an event that carries it was caused by our own call.
OUR_KEYS = "retry-engine:"
# Stripe may forget a key from 24 h on, and would then run the same request as a new one.
KEY_LIFETIME = timedelta(hours=23)


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceFacts:
    """An invoice as Stripe has it now. Amounts in minor units; times UTC."""

    id: str
    status: InvoiceStatus
    customer_id: str
    subscription_id: str | None
    amount_remaining: int
    currency: str
    created_at: datetime
    collection_method: CollectionMethod
    auto_advance: bool
    attempted: bool
    next_payment_attempt: datetime | None
    billing_reason: str | None
    default_payment_method_id: str | None
    default_source_id: str | None = None
    # filled where the subscription came along in the same answer
    subscription: "SubscriptionFacts | None" = None
    paid_at: datetime | None = None
    voided_at: datetime | None = None
    uncollectible_at: datetime | None = None
    hosted_url: str | None = None  # Stripe's own page where it can be paid
    number: str | None = None  # as its customer knows it
    amount_paid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceToPay:
    """An invoice as its payer needs it; `client_secret` confirms its payment in the browser."""

    status: InvoiceStatus
    amount_remaining: int
    currency: str
    hosted_url: str | None
    under_way: bool
    client_secret: str | None = field(default=None, repr=False)
    subscription: "SubscriptionFacts | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionFacts:
    """A subscription's part in collecting."""

    id: str
    status: SubscriptionStatus
    default_payment_method_id: str | None
    collection_paused: bool
    interval: str | None
    default_source_id: str | None = None
    ended_at: datetime | None = None
    period_starts_at: datetime | None = None
    period_ends_at: datetime | None = None
    trial_ends_at: datetime | None = None
    created_at: datetime | None = None
    sells: frozenset[str] = frozenset()  # the ids of its prices and of their products


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerFacts:
    """A customer; `timezone` only where the merchant keeps one in the metadata."""

    id: str
    deleted: bool
    country: str | None
    timezone: str | None
    created_at: datetime | None
    default_payment_method_id: str | None
    test_clock: str | None
    default_source_id: str | None = None  # older accounts keep the default there
    # read for a message and never kept
    email: str | None = field(default=None, repr=False)
    name: str | None = field(default=None, repr=False)
    language: str | None = None  # IETF tag, as in de-AT


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodFacts:
    """A saved payment method; `customer_id` is None once it is detached."""

    id: str
    customer_id: str | None
    type: str
    created_at: datetime
    card_brand: str | None = None
    card_funding: str | None = None
    card_country: str | None = None
    card_exp_year: int | None = None
    card_exp_month: int | None = None
    card_fingerprint: str | None = None
    blocked_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeFacts:
    """One charge, failed or not: one attempt by somebody."""

    id: str
    created_at: datetime
    amount: int
    currency: str
    outcome: Outcome
    customer_id: str | None
    payment_intent_id: str | None
    payment_method_id: str | None
    disputed: bool = False
    method_type: str = "card"
    card_brand: str | None = None
    card_funding: str | None = None
    card_country: str | None = None
    card_exp_year: int | None = None
    card_exp_month: int | None = None
    card_fingerprint: str | None = None
    mandate_id: str | None = None
    decline_code: str | None = None
    advice_code: str | None = None
    network_advice_code: str | None = None
    network_decline_code: str | None = None
    outcome_type: str | None = None
    outcome_reason: str | None = None
    risk_level: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentTrail:
    """How an invoice has been tried: its payment intents and all of their charges, oldest first.

    `awaits_customer` is the method for which a payment intent waits for authentication without
    there being a charge that says so.
    """

    payment_intent_id: str | None
    charges: tuple[ChargeFacts, ...]
    awaits_customer: bool = False
    awaiting_method_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PayResult:
    """The definite answer to one `pay`. Codes are empty where it succeeded."""

    outcome: Outcome
    charge_id: str | None = None
    payment_intent_id: str | None = None
    decline_code: str | None = None
    advice_code: str | None = None
    network_advice_code: str | None = None
    network_decline_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargePage:
    """Some charges, newest first; `after` names the place behind them, None at the end."""

    charges: tuple[ChargeFacts, ...]
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SigmaRun:
    """One run of a scheduled Sigma query; `file_id` only where it has a result."""

    id: str
    title: str
    status: str
    file_id: str | None
    error: str | None


class Gateway(Protocol):
    """Stripe. `account` is '' for our own, else the connected account's id.

    Every call raises StripeUnavailable (no usable answer), StripeRejected (a definite no) or
    StripeForbidden (key, permission). Whatever writes takes a `Permit`, which only the gate gives.
    """

    def invoice(self, account: str, invoice_id: str) -> InvoiceFacts: ...
    def payment_trail(self, account: str, invoice_id: str) -> PaymentTrail: ...
    def charge(self, account: str, charge_id: str) -> ChargeFacts: ...
    def charge_told(self, body: Mapping[str, Any]) -> ChargeFacts | None:
        """A charge as an event tells of it; None where that is not a whole one. Asks nobody."""

    def customer_charges(
        self, account: str, customer_id: str, *, since: datetime
    ) -> Sequence[ChargeFacts]: ...
    def customer(self, account: str, customer_id: str) -> CustomerFacts: ...
    def payment_methods(self, account: str, customer_id: str) -> Sequence[MethodFacts]: ...
    def payment_method(self, account: str, method_id: str) -> MethodFacts: ...
    def mandate_active(self, account: str, mandate_id: str) -> bool | None: ...
    def subscription(self, account: str, subscription_id: str) -> SubscriptionFacts: ...
    def subscriptions_of(self, account: str, customer_id: str) -> Sequence[SubscriptionFacts]:
        """All of a customer's that are not canceled."""

    def has_paid_since(self, account: str, subscription_id: str, *, after: datetime) -> bool:
        """Whether an invoice of the subscription that was made later than that is paid."""

    def clock(self, account: str, clock_id: str) -> tuple[datetime, str]: ...

    def pay(
        self,
        account: str,
        invoice_id: str,
        *,
        permit: Permit,
        method_id: str,
        idempotency_key: str,
        before_sending: Callable[[], None],
    ) -> PayResult:
        """Charge the whole of what remains, off-session. A decline is an answer, not an error.

        `before_sending` is called right before each request, and its errors keep it from leaving.
        """

    def set_auto_advance(
        self, account: str, invoice_id: str, *, permit: Permit, on: bool
    ) -> InvoiceFacts:
        """Take Stripe's own retries of this invoice away (off) or give them back (on)."""

    def cancel_subscription(
        self, account: str, subscription_id: str, *, permit: Permit, idempotency_key: str
    ) -> None:
        """End it at once, with nothing invoiced or credited for the rest of its period."""

    def pause_subscription(
        self,
        account: str,
        subscription_id: str,
        *,
        permit: Permit,
        until: datetime | None = None,
        idempotency_key: str,
    ) -> None:
        """Coming invoices become void until then, or until somebody resumes the collection."""

    def move_renewals(
        self,
        account: str,
        subscription_id: str,
        *,
        permit: Permit,
        to: datetime,
        idempotency_key: str,
    ) -> None:
        """The next renewal is then, and those after it on that day; nothing is asked for before."""

    def invoice_to_pay(self, account: str, invoice_id: str) -> InvoiceToPay: ...
    def portal_session(
        self,
        account: str,
        customer_id: str,
        *,
        permit: Permit,
        return_url: str,
        only_method: bool = False,
    ) -> str:
        """The address where they change what is saved at Stripe; good for minutes.

        `only_method`: a payment method can be added there, and nothing else done.
        """

    def setup_secret(
        self, account: str, customer_id: str, *, permit: Permit, idempotency_key: str
    ) -> str:
        """What a browser adds a method to the customer with."""

    def set_default_method(
        self,
        account: str,
        subscription_id: str,
        method_id: str,
        *,
        permit: Permit,
        idempotency_key: str,
    ) -> None:
        """What the subscription's coming invoices are charged on."""

    def credit_invoice(
        self,
        account: str,
        invoice_id: str,
        *,
        permit: Permit,
        amount: int,
        offer_id: str,
        idempotency_key: str,
    ) -> str:
        """Lower what an open invoice asks for, without a mail from Stripe; the credit note's id."""

    def credit_note_of(self, account: str, invoice_id: str, *, offer_id: str) -> str | None:
        """The credit note that was made for that offer and stands."""

    def void_credit_note(
        self, account: str, note_id: str, *, permit: Permit, idempotency_key: str
    ) -> None:
        """The invoice asks for it again. One that is void already stays so."""

    def give_coupon(
        self,
        account: str,
        subscription_id: str,
        *,
        permit: Permit,
        amount: int,
        currency: str,
        offer_id: str,
        idempotency_key: str,
    ) -> str:
        """The next renewal costs so much less, beside what other discounts do; the coupon's id."""

    def coupon_of(self, account: str, subscription_id: str, *, offer_id: str) -> str | None:
        """The offer's coupon, where the subscription carries it."""

    def take_coupon_back(
        self,
        account: str,
        subscription_id: str,
        coupon_id: str,
        *,
        permit: Permit,
        idempotency_key: str,
    ) -> bool:
        """False where the subscription does not carry it any more: a renewal has used it."""

    def send_invoice(
        self, account: str, invoice_id: str, *, permit: Permit, idempotency_key: str
    ) -> None:
        """An e-mail of Stripe's own that asks for what is due."""

    def mark_uncollectible(
        self, account: str, invoice_id: str, *, permit: Permit, idempotency_key: str
    ) -> None:
        """Bad debt in the books; it can still be paid."""


def default_method_of(
    invoice: InvoiceFacts | None, subscription: SubscriptionFacts | None, customer: CustomerFacts
) -> str | None:
    """Which method Stripe itself would charge: the first that is set, in Stripe's own order."""
    found = (
        *((invoice.default_payment_method_id, invoice.default_source_id) if invoice else ()),
        *(
            (subscription.default_payment_method_id, subscription.default_source_id)
            if subscription
            else ()
        ),
        customer.default_payment_method_id,
        customer.default_source_id,
    )
    return next((method_id for method_id in found if method_id is not None), None)
