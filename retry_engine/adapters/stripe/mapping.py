"""Stripe's objects and errors as the engine's own facts: values in, values out."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import stripe
import structlog

from retry_engine.domain import codes, money
from retry_engine.domain.attempts import Outcome
from retry_engine.domain.stripe_states import CollectionMethod, InvoiceStatus, SubscriptionStatus
from retry_engine.recovery.gateway import (
    ChargeFacts,
    CustomerFacts,
    InvoiceFacts,
    InvoiceToPay,
    MethodFacts,
    PayResult,
    SigmaRun,
    SubscriptionFacts,
)

Json = Mapping[str, Any]

log = structlog.get_logger()
State = TypeVar("State", InvoiceStatus, SubscriptionStatus, CollectionMethod)


def subscription_in(invoice: Json) -> SubscriptionFacts | None:
    """The invoice's subscription, where it came along in the same answer."""
    details = ((invoice.get("parent") or {}).get("subscription_details")) or {}
    found = details.get("subscription")
    return subscription_facts(found) if isinstance(found, dict) else None


def state_of(states: type[State], value: str) -> State:
    """The member that Stripe's word names; its `UNKNOWN`, said aloud, where none does."""
    try:
        return states(value)
    except ValueError:
        log.warning("unknown_state_of_stripe", of=states.__name__, value=str(value)[:60])
        return states("unknown")


def invoice_facts(invoice: Json) -> InvoiceFacts:
    """An invoice of the API."""
    details = ((invoice.get("parent") or {}).get("subscription_details")) or {}
    subscription = details.get("subscription")
    passed = invoice.get("status_transitions") or {}
    return InvoiceFacts(
        id=invoice["id"],
        status=state_of(InvoiceStatus, invoice.get("status") or "draft"),
        customer_id=id_of(invoice.get("customer")) or "",
        subscription_id=id_of(subscription),
        amount_remaining=invoice.get("amount_remaining") or 0,
        amount_paid=invoice.get("amount_paid") or 0,
        currency=money.known_currency(invoice.get("currency"), of=invoice["id"]),
        created_at=time_of(invoice["created"]),
        collection_method=state_of(
            CollectionMethod, invoice.get("collection_method") or "charge_automatically"
        ),
        auto_advance=bool(invoice.get("auto_advance")),
        attempted=bool(invoice.get("attempted")),
        next_payment_attempt=time_or_none(invoice.get("next_payment_attempt")),
        billing_reason=invoice.get("billing_reason"),
        default_payment_method_id=id_of(invoice.get("default_payment_method")),
        default_source_id=id_of(invoice.get("default_source")),
        subscription=subscription_in(invoice),
        paid_at=time_or_none(passed.get("paid_at")),
        voided_at=time_or_none(passed.get("voided_at")),
        uncollectible_at=time_or_none(passed.get("marked_uncollectible_at")),
        hosted_url=invoice.get("hosted_invoice_url"),
        number=invoice.get("number"),
    )


def invoice_to_pay(invoice: Json) -> InvoiceToPay:
    """An invoice with its confirmation secret and its payments, as a browser is to pay it."""
    payments = (invoice.get("payments") or {}).get("data") or []
    intents = [(p.get("payment") or {}).get("payment_intent") for p in payments]
    return InvoiceToPay(
        status=state_of(InvoiceStatus, invoice["status"]),
        amount_remaining=int(invoice["amount_remaining"]),
        currency=money.known_currency(invoice.get("currency"), of=invoice["id"]),
        hosted_url=invoice.get("hosted_invoice_url"),
        under_way=any(isinstance(i, Mapping) and i.get("status") == "processing" for i in intents),
        client_secret=(invoice.get("confirmation_secret") or {}).get("client_secret"),
        subscription=subscription_in(invoice),
    )


def subscription_facts(subscription: Json) -> SubscriptionFacts:
    """A subscription of the API."""
    items = (subscription.get("items") or {}).get("data") or []
    price = (items[0].get("price") or {}) if items else {}
    return SubscriptionFacts(
        id=subscription["id"],
        status=state_of(SubscriptionStatus, subscription.get("status") or "active"),
        default_payment_method_id=id_of(subscription.get("default_payment_method")),
        default_source_id=id_of(subscription.get("default_source")),
        collection_paused=bool(subscription.get("pause_collection")),
        interval=(price.get("recurring") or {}).get("interval"),
        ended_at=time_or_none(subscription.get("ended_at")),
        period_starts_at=time_or_none(items[0].get("current_period_start") if items else None),
        period_ends_at=time_or_none(items[0].get("current_period_end") if items else None),
        trial_ends_at=time_or_none(subscription.get("trial_end")),
        created_at=time_or_none(subscription.get("created")),
        sells=frozenset(sold for item in items for sold in _sold(item)),
    )


def _sold(item: Json) -> Iterator[str]:
    """The price of a subscription's item, and its product."""
    price = item.get("price") or {}
    product = price.get("product") if isinstance(price, Mapping) else None
    yield from (sold for sold in (id_of(price or None), id_of(product)) if sold is not None)


def coupon_id_of(offer_id: str) -> str:
    """What the offer's coupon is called at Stripe, where its letters are restricted."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", f"retry-engine-{offer_id}")


def customer_facts(customer: Json) -> CustomerFacts:
    """A customer of the API."""
    address = customer.get("address") or {}
    shipping = (customer.get("shipping") or {}).get("address") or {}
    metadata = customer.get("metadata") or {}
    settings = customer.get("invoice_settings") or {}
    created = customer.get("created")
    return CustomerFacts(
        id=customer["id"],
        deleted=bool(customer.get("deleted")),
        country=address.get("country") or shipping.get("country"),
        timezone=metadata.get("timezone"),
        created_at=time_or_none(created),
        default_payment_method_id=id_of(settings.get("default_payment_method")),
        default_source_id=id_of(customer.get("default_source")),
        test_clock=id_of(customer.get("test_clock")),
        email=customer.get("email"),
        name=customer.get("name"),
        language=next(iter(customer.get("preferred_locales") or []), None),
    )


def method_facts(method: Json) -> MethodFacts:
    """A payment method of the API."""
    kind = method.get("type") or "card"
    detail = method.get(kind) or {}
    blocked = ((detail.get("status_details") or {}).get("blocked")) or {}
    return MethodFacts(
        id=method["id"],
        customer_id=id_of(method.get("customer")),
        type=kind,
        created_at=time_of(method.get("created") or 0),
        card_brand=detail.get("brand"),
        card_funding=detail.get("funding"),
        card_country=detail.get("country"),
        card_exp_year=detail.get("exp_year"),
        card_exp_month=detail.get("exp_month"),
        card_fingerprint=detail.get("fingerprint"),
        blocked_reason=blocked.get("network_code") or blocked.get("reason"),
    )


def charge_facts(charge: Json, intent: Json | str | None) -> ChargeFacts:
    """A charge of the API; `intent`, where it came along, may know more of its decline."""
    details = charge.get("payment_method_details") or {}
    kind = details.get("type") or "card"
    method = details.get(kind) or {}
    outcome = charge.get("outcome") or {}
    error = _last_error_of(intent, charge["id"])
    return ChargeFacts(
        id=charge["id"],
        created_at=time_of(charge["created"]),
        amount=charge["amount"],
        currency=charge["currency"],
        outcome=_charge_outcome(charge, error),
        customer_id=id_of(charge.get("customer")),
        payment_intent_id=id_of(charge.get("payment_intent")),
        payment_method_id=id_of(charge.get("payment_method")),
        disputed=bool(charge.get("disputed")),
        method_type=kind,
        card_brand=method.get("brand"),
        card_funding=method.get("funding"),
        card_country=method.get("country"),
        card_exp_year=method.get("exp_year"),
        card_exp_month=method.get("exp_month"),
        card_fingerprint=method.get("fingerprint"),
        mandate_id=id_of(method.get("mandate")),
        decline_code=_charge_decline(charge, error),
        advice_code=outcome.get("advice_code") or error.get("advice_code"),
        network_advice_code=(
            outcome.get("network_advice_code") or error.get("network_advice_code")
        ),
        network_decline_code=(
            outcome.get("network_decline_code") or error.get("network_decline_code")
        ),
        outcome_type=outcome.get("type"),
        outcome_reason=outcome.get("reason"),
        risk_level=outcome.get("risk_level"),
    )


def _charge_outcome(charge: Json, error: Json) -> Outcome:
    status = charge.get("status")
    if status == "succeeded":
        return Outcome.SUCCEEDED
    if status == "pending":
        return Outcome.PROCESSING
    if codes.asks_for_customer(_charge_decline(charge, error)):
        return Outcome.REQUIRES_ACTION
    return Outcome.FAILED


def _charge_decline(charge: Json, error: Json) -> str | None:
    """The payment intent's error is the finest, then the issuer's reason, then the coarse code."""
    if charge.get("status") != "failed":
        return None
    if error.get("decline_code"):
        return str(error["decline_code"])
    outcome = charge.get("outcome") or {}
    reason = outcome.get("reason")
    if reason:
        return str(reason).removeprefix("partner_") if _is_local(charge) else str(reason)
    return _decline_code(None, charge.get("failure_code")) or "generic_decline"


def _is_local(charge: Json) -> bool:
    """Whether a local payment method was charged, whose reasons carry a `partner_` prefix."""
    return ((charge.get("payment_method_details") or {}).get("type") or "card") != "card"


def _last_error_of(intent: Json | str | None, charge_id: str) -> Json:
    if not isinstance(intent, dict):
        return {}
    error = intent.get("last_payment_error") or {}
    return error if id_of(error.get("charge")) == charge_id else {}


def sigma_run(run: Json) -> SigmaRun:
    """One run of a scheduled query."""
    return SigmaRun(
        id=run["id"],
        title=run.get("title") or "",
        status=run.get("status") or "",
        file_id=id_of(run.get("file")),
        error=(run.get("error") or {}).get("message"),
    )


def awaits_customer(intent: Json | str) -> bool:
    """Whether a payment intent waits for the customer, and for nobody else."""
    if not isinstance(intent, dict):
        return False
    error = intent.get("last_payment_error") or {}
    return intent.get("status") == "requires_action" or (
        intent.get("status") == "requires_payment_method"
        and any(codes.asks_for_customer(error.get(name)) for name in ("code", "decline_code"))
    )


def awaiting_method(intent: Json | str | None) -> str | None:
    """The method that a payment intent waits on."""
    if not isinstance(intent, dict):
        return None
    error = intent.get("last_payment_error") or {}
    return id_of(intent.get("payment_method")) or id_of(error.get("payment_method"))


def decline_of(error: stripe.CardError) -> PayResult:
    """What a declined charge is answered with."""
    detail = error.error.to_dict() if error.error else {}
    needs_customer = (
        error.code == "invoice_payment_intent_requires_action"
        or codes.asks_for_customer(detail.get("decline_code"))
        or codes.asks_for_customer(error.code)
    )
    return PayResult(
        outcome=Outcome.REQUIRES_ACTION if needs_customer else Outcome.FAILED,
        charge_id=id_of(detail.get("charge")),
        payment_intent_id=id_of(detail.get("payment_intent")),
        decline_code=_decline_code(detail.get("decline_code"), error.code),
        advice_code=detail.get("advice_code"),
        network_advice_code=detail.get("network_advice_code"),
        network_decline_code=detail.get("network_decline_code"),
    )


def _decline_code(decline_code: str | None, code: str | None) -> str | None:
    """The finer of the two; `card_declined` alone says nothing."""
    if decline_code:
        return decline_code
    if code == "invoice_payment_intent_requires_action":
        return codes.AUTHENTICATION_REQUIRED
    return None if code in (None, "", "card_declined") else code


def id_of(value: Any) -> str | None:
    """The id of what may be expanded or not."""
    if value is None or isinstance(value, str):
        return value or None
    return str(value["id"])


def time_of(seconds: float) -> datetime:
    """Seconds since 1970 as a time, UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def time_or_none(seconds: float | None) -> datetime | None:
    """As `time_of`, where there is one."""
    return None if seconds is None else time_of(seconds)
