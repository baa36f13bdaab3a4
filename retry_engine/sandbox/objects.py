"""Builders of the API's objects, with every field the present version has for them.

Only shapes live here: no rule, no time, no chance.
"""
# ruff: noqa: A002 -- the arguments carry the names of the API's own fields

from collections.abc import Sequence
from typing import Any

from retry_engine.sandbox.refusals import Obj

_NO_ADDRESS: Obj = {
    "city": None,
    "country": None,
    "line1": None,
    "line2": None,
    "postal_code": None,
    "state": None,
}


def _nulls(*names: str) -> Obj:
    return dict.fromkeys(names)


def billing_details(country: str | None = None) -> Obj:
    """Billing details of which only the country is known."""
    return {
        "address": {**_NO_ADDRESS, "country": country},
        "email": None,
        "name": None,
        "phone": None,
        "tax_id": None,
    }


def listing(data: Sequence[Obj], url: str, *, has_more: bool = False) -> Obj:
    """Stripe's list object."""
    return {"object": "list", "data": list(data), "has_more": has_more, "url": url}


def account(*, id: str, created: int, country: str, currency: str) -> Obj:
    """The account itself."""
    return {
        "id": id,
        "object": "account",
        "business_profile": {"name": "Sandbox", "url": None, "support_email": None, "mcc": None},
        "business_type": None,
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "controller": {"type": "account"},
        "country": country,
        "created": created,
        "default_currency": currency,
        "details_submitted": True,
        "email": None,
        "external_accounts": listing([], f"/v1/accounts/{id}/external_accounts"),
        "metadata": {},
        "payouts_enabled": True,
        "settings": {
            "branding": _nulls("icon", "logo", "primary_color", "secondary_color"),
            "card_payments": {
                "decline_on": {"avs_failure": True, "cvc_failure": True},
                **_nulls(
                    "statement_descriptor_prefix",
                    "statement_descriptor_prefix_kana",
                    "statement_descriptor_prefix_kanji",
                ),
            },
            "dashboard": {"display_name": "Sandbox", "timezone": "Etc/UTC"},
            "payments": _nulls(
                "statement_descriptor", "statement_descriptor_kana", "statement_descriptor_kanji"
            ),
        },
        "type": "standard",
    }


def customer(*, id: str, created: int, clock: str | None, prefix: str) -> Obj:
    """A customer without anything yet."""
    return {
        "id": id,
        "object": "customer",
        "balance": 0,
        "created": created,
        "delinquent": False,
        "invoice_prefix": prefix,
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "next_invoice_sequence": 1,
        "preferred_locales": [],
        "tax_exempt": "none",
        "test_clock": clock,
        **_nulls(
            "address", "currency", "customer_account", "default_source", "description",
            "discount", "email", "name", "phone", "shipping",
        ),
    }  # fmt: skip


def payment_method(*, id: str, created: int, kind: str, detail: Obj, country: str | None) -> Obj:
    """A payment method that belongs to nobody yet."""
    return {
        "id": id,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": billing_details(country),
        "created": created,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": kind,
        kind: detail,
    }


def card(
    *, brand: str, country: str | None, exp_month: int, exp_year: int,
    fingerprint: str, funding: str, last4: str,
) -> Obj:  # fmt: skip
    """The card part of a payment method."""
    return {
        "brand": brand,
        "checks": {
            "address_line1_check": None,
            "address_postal_code_check": None,
            "cvc_check": "pass",
        },
        "country": country,
        "display_brand": brand,
        "exp_month": exp_month,
        "exp_year": exp_year,
        "fingerprint": fingerprint,
        "funding": funding,
        "generated_from": None,
        "last4": last4,
        "networks": {"available": [brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def legacy_card(method: Obj, *, brand: str) -> Obj:
    """A card payment method as the sources API shows it."""
    detail, details = method["card"], method["billing_details"]
    address = details["address"]
    return {
        "id": method["id"],
        "object": "card",
        "address_city": address["city"],
        "address_country": address["country"],
        "address_line1": address["line1"],
        "address_line1_check": detail["checks"]["address_line1_check"],
        "address_line2": address["line2"],
        "address_state": address["state"],
        "address_zip": address["postal_code"],
        "address_zip_check": detail["checks"]["address_postal_code_check"],
        "allow_redisplay": method["allow_redisplay"],
        "brand": brand,
        "country": detail["country"],
        "customer": method["customer"],
        "cvc_check": detail["checks"]["cvc_check"],
        "dynamic_last4": None,
        "exp_month": detail["exp_month"],
        "exp_year": detail["exp_year"],
        "fingerprint": detail["fingerprint"],
        "funding": detail["funding"],
        "last4": detail["last4"],
        "metadata": method["metadata"],
        "name": details["name"],
        "regulated_status": detail["regulated_status"],
        "tokenization_method": None,
        "wallet": None,
    }


def application(*, id: str, name: str) -> Obj:
    """The platform's application, as a connected account knows it."""
    return {"id": id, "object": "application", "name": name}


def sepa_debit(*, country: str | None, fingerprint: str, last4: str) -> Obj:
    """The SEPA part of a payment method."""
    return {
        "bank_code": "37040044",
        "branch_code": "",
        "country": country,
        "fingerprint": fingerprint,
        "generated_from": {"charge": None, "setup_attempt": None},
        "last4": last4,
    }


def us_bank_account(*, fingerprint: str, last4: str, bank_name: str | None) -> Obj:
    """The ACH part of a payment method."""
    return {
        "account_holder_type": "individual",
        "account_type": "checking",
        "bank_name": bank_name or "STRIPE TEST BANK",
        "financial_connections_account": None,
        "fingerprint": fingerprint,
        "last4": last4,
        "networks": {"preferred": "ach", "supported": ["ach"]},
        "routing_number": "110000000",
        "status_details": {},
    }


def bacs_debit(*, fingerprint: str, last4: str) -> Obj:
    """The Bacs part of a payment method."""
    return {"fingerprint": fingerprint, "last4": last4, "sort_code": "108800"}


def mandate(*, id: str, method: Obj, at: int) -> Obj:
    """A standing permission to debit."""
    kind = method["type"]
    detail: Obj = {"type": kind, kind: {}}
    if kind == "sepa_debit":
        detail[kind] = {"reference": id[-12:].upper(), "url": ""}
    if kind == "bacs_debit":
        detail[kind] = {
            "network_status": "accepted",
            "reference": id[-12:].upper(),
            "revocation_reason": None,
            "url": "",
        }
    return {
        "id": id,
        "object": "mandate",
        "customer_acceptance": {
            "accepted_at": at,
            "online": {"ip_address": "127.0.0.1", "user_agent": "sandbox"},
            "type": "online",
        },
        "livemode": False,
        "multi_use": {},
        "payment_method": method["id"],
        "payment_method_details": detail,
        "status": "active",
        "type": "multi_use",
    }


def product(*, id: str, created: int, name: str) -> Obj:
    """A product."""
    return {
        "id": id,
        "object": "product",
        "active": True,
        "created": created,
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": {},
        "name": name,
        "type": "service",
        "updated": created,
        **_nulls(
            "default_price", "description", "package_dimensions", "shippable",
            "statement_descriptor", "tax_code", "unit_label", "url",
        ),
    }  # fmt: skip


def price(
    *, id: str, created: int, product: str, currency: str, unit_amount: int,
    interval: str | None, interval_count: int,
) -> Obj:  # fmt: skip
    """A price, recurring where an interval is given."""
    recurring = {
        "interval": interval,
        "interval_count": interval_count,
        "meter": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }
    return {
        "id": id,
        "object": "price",
        "active": True,
        "billing_scheme": "per_unit",
        "created": created,
        "currency": currency,
        "livemode": False,
        "metadata": {},
        "product": product,
        "recurring": recurring if interval else None,
        "tax_behavior": "unspecified",
        "type": "recurring" if interval else "one_time",
        "unit_amount": unit_amount,
        "unit_amount_decimal": str(unit_amount),
        **_nulls(
            "custom_unit_amount", "lookup_key", "nickname", "tiers_mode", "transform_quantity"
        ),
    }


def plan(price: Obj) -> Obj:
    """A recurring price under its old name."""
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": True,
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": "per_unit",
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": price["metadata"],
        "meter": None,
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }


def pricing(price: Obj) -> Obj:
    """How a line names its price."""
    return {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details",
        "unit_amount_decimal": price["unit_amount_decimal"],
    }


def subscription_item(
    *, id: str, created: int, subscription: str, price: Obj, quantity: int, start: int, end: int
) -> Obj:
    """One line of a subscription, with its current period."""
    return {
        "id": id,
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": created,
        "current_period_end": end,
        "current_period_start": start,
        "discounts": [],
        "metadata": {},
        "plan": plan(price),
        "price": price,
        "quantity": quantity,
        "subscription": subscription,
        "tax_rates": [],
    }


def subscription(*, id: str, created: int, customer: Obj, currency: str, anchor: int) -> Obj:
    """A subscription without items."""
    return {
        "id": id,
        "object": "subscription",
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": anchor,
        "billing_mode": {"flexible": None, "type": "classic"},
        "billing_schedules": [],
        "cancel_at_period_end": False,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": created,
        "currency": currency,
        "customer": customer["id"],
        "default_tax_rates": [],
        "discounts": [],
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": listing([], f"/v1/subscription_items?subscription={id}"),
        "livemode": False,
        "metadata": {},
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "start_date": created,
        "status": "active",
        "test_clock": customer["test_clock"],
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        **_nulls(
            "application", "application_fee_percent", "billing_cycle_anchor_config",
            "billing_thresholds", "cancel_at", "canceled_at", "customer_account",
            "days_until_due", "default_payment_method", "default_source", "description",
            "ended_at", "latest_invoice", "next_pending_invoice_item_invoice", "on_behalf_of",
            "pause_collection", "pending_invoice_item_interval", "pending_setup_intent",
            "pending_update", "schedule", "transfer_data", "trial_end", "trial_start",
        ),
    }  # fmt: skip


def line_item(
    *, id: str, invoice: str, amount: int, currency: str, description: str,
    period: tuple[int, int], subscription_item: Obj | None, invoice_item: str | None,
) -> Obj:  # fmt: skip
    """One line of an invoice."""
    parent: Obj = {
        "type": "invoice_item_details",
        "invoice_item_details": {
            "invoice_item": invoice_item or "",
            "proration": False,
            "proration_details": None,
            "subscription": None,
        },
        "subscription_item_details": None,
    }
    if subscription_item is not None:
        parent = {
            "type": "subscription_item_details",
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": None,
                "subscription": subscription_item["subscription"],
                "subscription_item": subscription_item["id"],
            },
        }
    return {
        "id": id,
        "object": "line_item",
        "amount": amount,
        "currency": currency,
        "description": description,
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice,
        "livemode": False,
        "metadata": {},
        "parent": parent,
        "period": {"start": period[0], "end": period[1]},
        "pretax_credit_amounts": [],
        "pricing": None,
        "quantity": 1,
        "subscription": subscription_item["subscription"] if subscription_item else None,
        "subtotal": amount,
        "taxes": [],
    }


def invoice(
    *, id: str, created: int, customer: Obj, currency: str, reason: str,
    subscription: Obj | None, country: str, period: tuple[int, int],
) -> Obj:  # fmt: skip
    """A draft without lines."""
    parent = None
    if subscription is not None:
        parent = {
            "quote_details": None,
            "subscription_details": {
                "metadata": dict(subscription["metadata"]),
                "subscription": subscription["id"],
            },
            "type": "subscription_details",
        }
    return {
        "id": id,
        "object": "invoice",
        "account_country": country,
        "account_name": "Sandbox",
        "amount_due": 0,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_paid_off_stripe": 0,
        "amount_remaining": 0,
        "amount_shipping": 0,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "automatically_finalizes_at": None,
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "created": created,
        "currency": currency,
        "customer": customer["id"],
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_tax_rates": [],
        "discounts": [],
        "issuer": {"type": "self"},
        "lines": listing([], f"/v1/invoices/{id}/lines"),
        "livemode": False,
        "metadata": {},
        "parent": parent,
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": period[1],
        "period_start": period[0],
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "status": "draft",
        "status_details": None,
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "subtotal": 0,
        "subtotal_excluding_tax": 0,
        "test_clock": customer["test_clock"],
        "total": 0,
        "total_discount_amounts": [],
        "total_excluding_tax": 0,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": created,
        **_nulls(
            "account_tax_ids", "application", "custom_fields", "customer_account",
            "customer_phone", "customer_shipping", "default_payment_method", "default_source",
            "description", "due_date", "effective_at", "ending_balance", "footer",
            "from_invoice", "hosted_invoice_url", "invoice_pdf", "last_finalization_error",
            "latest_revision", "next_payment_attempt", "number", "on_behalf_of",
            "receipt_number", "rendering", "shipping_cost", "shipping_details",
            "statement_descriptor",
        ),
    }  # fmt: skip


def invoice_payment(*, id: str, created: int, invoice: Obj, intent: str, is_default: bool) -> Obj:
    """The tie between an invoice and a payment intent."""
    return {
        "id": id,
        "object": "invoice_payment",
        "amount_paid": None,
        "amount_requested": invoice["amount_remaining"],
        "created": created,
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": is_default,
        "livemode": False,
        "payment": {"payment_intent": intent, "type": "payment_intent"},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }


def payment_intent(
    *, id: str, created: int, customer: str | None, amount: int, currency: str
) -> Obj:
    """An intent that waits for a payment method."""
    return {
        "id": id,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "capture_method": "automatic",
        "client_secret": f"{id}_secret_{id[-12:]}",
        "confirmation_method": "automatic",
        "created": created,
        "currency": currency,
        "customer": customer,
        "description": "Subscription update",
        "livemode": False,
        "metadata": {},
        "payment_method_options": {},
        "payment_method_types": ["card", "sepa_debit", "us_bank_account", "bacs_debit"],
        "setup_future_usage": "off_session",
        "status": "requires_payment_method",
        **_nulls(
            "application", "application_fee_amount", "automatic_payment_methods",
            "canceled_at", "cancellation_reason", "customer_account",
            "excluded_payment_method_types", "last_payment_error", "latest_charge",
            "next_action", "on_behalf_of", "payment_method",
            "payment_method_configuration_details", "processing", "receipt_email", "review",
            "shipping", "source", "statement_descriptor", "statement_descriptor_suffix",
            "transfer_data", "transfer_group",
        ),
    }  # fmt: skip


def method_details(method: Obj, mandate: str | None) -> Obj:
    """How a charge describes the method it was made with."""
    kind = method["type"]
    detail = method[kind]
    if kind == "card":
        keep = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding",
                "last4", "regulated_status", "wallet")  # fmt: skip
        shown = {name: detail[name] for name in keep}
        shown.update(
            _nulls(
                "amount_authorized", "authorization_code", "installments", "mandate",
                "network_transaction_id", "three_d_secure",
            ),
            network=detail["brand"],
            network_token={"used": False},
        )  # fmt: skip
        return {"type": kind, kind: shown}
    return {"type": kind, kind: {**detail, "mandate": mandate}}


def charge(*, id: str, created: int, intent: Obj, method: Obj, amount: int, details: Obj) -> Obj:
    """A charge before its outcome is written on it."""
    return {
        "id": id,
        "object": "charge",
        "amount": amount,
        "amount_captured": 0,
        "amount_refunded": 0,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": "SANDBOX",
        "captured": False,
        "created": created,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "fraud_details": {},
        "livemode": False,
        "metadata": {},
        "paid": False,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": details,
        "refunded": False,
        "status": "pending",
        **_nulls(
            "application", "application_fee", "application_fee_amount", "balance_transaction",
            "failure_balance_transaction", "failure_code", "failure_message", "on_behalf_of",
            "outcome", "presentment_details", "receipt_email", "receipt_number", "receipt_url",
            "review", "shipping", "source", "source_transfer", "statement_descriptor",
            "statement_descriptor_suffix", "transfer_data", "transfer_group",
        ),
    }  # fmt: skip


def event(
    *, id: str, kind: str, created: int, api_version: str, snapshot: Obj, previous: Obj | None,
    request: str | None, idempotency_key: str | None,
) -> Obj:  # fmt: skip
    """What happened, with the object as it was then."""
    data: Obj = {"object": snapshot}
    if previous:
        data["previous_attributes"] = previous
    return {
        "id": id,
        "object": "event",
        "api_version": api_version,
        "created": created,
        "data": data,
        "livemode": False,
        "pending_webhooks": 0,
        "request": {"id": request, "idempotency_key": idempotency_key},
        "type": kind,
    }


def test_clock(*, id: str, created: int, frozen_time: int, name: str | None) -> Obj:
    """A clock that stands still until it is advanced."""
    return {
        "id": id,
        "object": "test_helpers.test_clock",
        "created": created,
        "deletes_after": created + 30 * 86_400,
        "frozen_time": frozen_time,
        "livemode": False,
        "name": name,
        "status": "ready",
        "status_details": {},
    }


def webhook_endpoint(
    *, id: str, created: int, url: str, events: list[str], version: str | None
) -> Obj:
    """Where events are sent."""
    return {
        "id": id,
        "object": "webhook_endpoint",
        "api_version": version,
        "application": None,
        "created": created,
        "description": None,
        "enabled_events": events,
        "livemode": False,
        "metadata": {},
        "status": "enabled",
        "url": url,
    }


_EVIDENCE = (
    "access_activity_log", "billing_address", "cancellation_policy",
    "cancellation_policy_disclosure", "cancellation_rebuttal", "customer_communication",
    "customer_email_address", "customer_name", "customer_purchase_ip", "customer_signature",
    "duplicate_charge_documentation", "duplicate_charge_explanation", "duplicate_charge_id",
    "product_description", "receipt", "refund_policy", "refund_policy_disclosure",
    "refund_refusal_explanation", "service_date", "service_documentation", "shipping_address",
    "shipping_carrier", "shipping_date", "shipping_documentation", "shipping_tracking_number",
    "uncategorized_file", "uncategorized_text",
)  # fmt: skip


def dispute(*, id: str, created: int, charge: Obj, reason: str) -> Obj:
    """A charge that the customer's bank takes back."""
    card: Obj = (charge["payment_method_details"] or {}).get("card") or {}
    return {
        "id": id,
        "object": "dispute",
        "amount": charge["amount"],
        "balance_transactions": [],
        "charge": charge["id"],
        "created": created,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**_nulls(*_EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": created + 14 * 86_400,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "card": {
                "brand": card.get("brand") or "visa",
                "case_type": "chargeback",
                "network": card.get("network") or "visa",
                "network_reason_code": "13.2" if reason == "subscription_canceled" else "10.4",
            },
            "type": "card",
        },
        "reason": reason,
        "status": "needs_response",
    }


def early_fraud_warning(*, id: str, created: int, charge: Obj) -> Obj:
    """A card network's hint that a charge was not the cardholder's."""
    return {
        "id": id,
        "object": "radar.early_fraud_warning",
        "actionable": True,
        "charge": charge["id"],
        "created": created,
        "fraud_type": "unauthorized_use_of_card",
        "livemode": False,
        "payment_intent": charge["payment_intent"],
    }


def refund(*, id: str, created: int, charge: Obj, amount: int, reason: str | None) -> Obj:
    """Money given back."""
    return {
        "id": id,
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": created,
        "currency": charge["currency"],
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }


def credit_note(*, id: str, created: int, invoice: Obj, amount: int, number: str) -> Obj:
    """A note that lowers what an open invoice asks for."""
    return {
        "id": id,
        "object": "credit_note",
        "amount": amount,
        "amount_shipping": 0,
        "created": created,
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "customer_account": None,
        "customer_balance_transaction": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": created,
        "invoice": invoice["id"],
        "lines": listing([], f"/v1/credit_notes/{id}/lines"),
        "livemode": False,
        "memo": None,
        "metadata": {},
        "number": number,
        "out_of_band_amount": None,
        "pdf": f"https://pay.stripe.com/credit_notes/{id}/pdf",
        "post_payment_amount": 0,
        "pre_payment_amount": amount,
        "pretax_credit_amounts": [],
        "reason": None,
        "refunds": [],
        "shipping_cost": None,
        "status": "issued",
        "subtotal": amount,
        "subtotal_excluding_tax": amount,
        "total": amount,
        "total_excluding_tax": amount,
        "total_taxes": [],
        "type": "pre_payment",
        "voided_at": None,
    }


def file(*, id: str, created: int, size: int, url: str, title: str) -> Obj:
    """A file that Stripe made; what is in it is fetched from `url`."""
    return {
        "id": id,
        "object": "file",
        "created": created,
        "expires_at": created + 7 * 86_400,
        "filename": f"{id}.csv",
        "links": listing([], f"/v1/file_links?file={id}"),
        "purpose": "sigma_scheduled_query",
        "size": size,
        "title": title,
        "type": "csv",
        "url": url,
    }


def scheduled_query_run(
    *, id: str, created: int, title: str, status: str, file: Obj | None, error: str | None
) -> Obj:
    """One run of a scheduled Sigma query."""
    run: Obj = {
        "id": id,
        "object": "scheduled_query_run",
        "created": created,
        "data_load_time": created - created % 86_400,
        "file": file,
        "livemode": False,
        "result_available_until": created + 7 * 86_400,
        "sql": "select 1",
        "status": status,
        "title": title,
    }
    return {**run, "error": {"message": error}} if error else run


def invoice_item(*, id: str, created: int, customer: str, amount: int, currency: str) -> Obj:
    """An amount that waits for an invoice."""
    return {
        "id": id,
        "object": "invoiceitem",
        "amount": amount,
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "date": created,
        "created": created,
        "description": None,
        "discountable": True,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": {},
        "net_amount": amount,
        "parent": None,
        "period": {"start": created, "end": created},
        "pricing": None,
        "proration": False,
        "quantity": 1,
        "quantity_decimal": "1",
        "tax_rates": [],
        "test_clock": None,
    }


def error_of(verdict: Any, *, message: str, charge: str, method: Obj) -> Obj:
    """`last_payment_error` of an intent."""
    error: Obj = {
        "type": "card_error",
        "code": verdict.code,
        "doc_url": f"https://stripe.com/docs/error-codes/{verdict.code.replace('_', '-')}",
        "message": message,
        "charge": charge,
        "payment_method": method,
    }
    for name in ("decline_code", "advice_code", "network_advice_code", "network_decline_code"):
        if getattr(verdict, name):
            error[name] = getattr(verdict, name)
    return error
