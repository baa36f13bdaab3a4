"""Subscriptions and their items."""

from retry_engine.sandbox.objects.base import Obj, listing, nulls
from retry_engine.sandbox.objects.catalog import plan


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
        **nulls(
            "application", "application_fee_percent", "billing_cycle_anchor_config",
            "billing_thresholds", "cancel_at", "canceled_at", "customer_account",
            "days_until_due", "default_payment_method", "default_source", "description",
            "ended_at", "latest_invoice", "next_pending_invoice_item_invoice", "on_behalf_of",
            "pause_collection", "pending_invoice_item_interval", "pending_setup_intent",
            "pending_update", "schedule", "transfer_data", "trial_end", "trial_start",
        ),
    }  # fmt: skip
