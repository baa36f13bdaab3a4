"""Builders of the objects of offers and of a customer's own visits. Shapes only, as `objects`."""
# ruff: noqa: A002 -- the arguments carry the names of the API's own fields

from typing import Any

from retry_engine.sandbox.refusals import Obj


def coupon(
    *, id: str, created: int, duration: str, months: int | None, percent_off: float | None,
    amount_off: int | None, currency: str | None,
) -> Obj:  # fmt: skip
    """A discount that can be given, to anybody."""
    return {
        "id": id,
        "object": "coupon",
        "amount_off": amount_off,
        "created": created,
        "currency": currency,
        "duration": duration,
        "duration_in_months": months,
        "livemode": False,
        "max_redemptions": None,
        "metadata": {},
        "name": None,
        "percent_off": percent_off,
        "redeem_by": None,
        "times_redeemed": 0,
        "valid": True,
    }


def promotion_code(*, id: str, created: int, coupon: str, code: str, customer: str | None) -> Obj:
    """A word that brings a coupon."""
    return {
        "id": id,
        "object": "promotion_code",
        "active": True,
        "code": code,
        "created": created,
        "customer": customer,
        "customer_account": None,
        "expires_at": None,
        "livemode": False,
        "max_redemptions": None,
        "metadata": {},
        "promotion": {"coupon": coupon, "type": "coupon"},
        "restrictions": {
            "first_time_transaction": False,
            "minimum_amount": None,
            "minimum_amount_currency": None,
        },
        "times_redeemed": 0,
    }


def discount(
    *, id: str, start: int, end: int | None, coupon: str, customer: str, subscription: str | None,
    promotion_code: str | None,
) -> Obj:  # fmt: skip
    """A coupon as it was given to a subscription."""
    return {
        "id": id,
        "object": "discount",
        "checkout_session": None,
        "customer": customer,
        "customer_account": None,
        "end": end,
        "invoice": None,
        "invoice_item": None,
        "promotion_code": promotion_code,
        "source": {"coupon": coupon, "type": "coupon"},
        "start": start,
        "subscription": subscription,
        "subscription_item": None,
    }


def setup_intent(*, id: str, created: int, customer: str | None, usage: str) -> Obj:
    """An intent to keep a method for later."""
    return {
        "id": id,
        "object": "setup_intent",
        "application": None,
        "attach_to_self": False,
        "automatic_payment_methods": {"allow_redirects": "always", "enabled": True},
        "cancellation_reason": None,
        "client_secret": f"{id}_secret_{id[-12:]}",
        "created": created,
        "customer": customer,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "flow_directions": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": False,
        "mandate": None,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": ["card", "sepa_debit", "us_bank_account", "bacs_debit"],
        "single_use_mandate": None,
        "status": "requires_payment_method",
        "usage": usage,
    }


def customer_session(*, secret: str, created: int, customer: str, element: Obj) -> Obj:
    """Leave for a page to show a customer's saved methods."""
    features: Obj = {
        "payment_method_allow_redisplay_filters": ["always"],
        "payment_method_redisplay": "disabled",
        "payment_method_redisplay_limit": 3,
        "payment_method_remove": "disabled",
        "payment_method_save": "disabled",
        "payment_method_save_usage": None,
        **(element.get("features") or {}),
    }
    off: Obj = {"enabled": False}
    enabled = bool(element.get("enabled"))
    return {
        "object": "customer_session",
        "client_secret": secret,
        "components": {
            "active_entitlements": off,
            "buy_button": off,
            "customer_portal": off,
            "customer_sheet": {"enabled": False, "features": None},
            "mobile_payment_element": {"enabled": False, "features": None},
            "payment_element": {"enabled": enabled, "features": features if enabled else None},
            "pricing_table": off,
        },
        "created": created,
        "customer": customer,
        "customer_account": None,
        "expires_at": created + 1800,
        "livemode": False,
    }


def portal_session(
    *, id: str, created: int, customer: str, url: str, return_url: str | None, flow: Obj | None
) -> Obj:
    """One visit to the customer portal."""
    return {
        "id": id,
        "object": "billing_portal.session",
        "after_expiration": None,
        "configuration": "bpc_sandbox",
        "created": created,
        "customer": customer,
        "customer_account": None,
        "flow": flow,
        "livemode": False,
        "locale": None,
        "on_behalf_of": None,
        "return_url": return_url,
        "url": url,
    }


def portal_flow(given: Any) -> Obj | None:
    """`flow_data` as the session shows it."""
    if not given:
        return None
    kind = given.get("type")
    after = given.get("after_completion") or {}
    flow: Obj = {
        "after_completion": {
            "hosted_confirmation": after.get("hosted_confirmation"),
            "redirect": after.get("redirect"),
            "type": after.get("type", "portal_homepage"),
        },
        "customer_update": None,
        "subscription_cancel": None,
        "subscription_pause": None,
        "subscription_update": None,
        "subscription_update_confirm": None,
        "type": kind,
    }
    return {**flow, **({kind: given[kind]} if given.get(kind) else {})}


def cash_transaction(
    *, id: str, created: int, customer: str, amount: int, currency: str, ending: int
) -> Obj:
    """A bank transfer that came."""
    return {
        "id": id,
        "object": "customer_cash_balance_transaction",
        "created": created,
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "ending_balance": ending,
        "funded": {"bank_transfer": {"reference": None, "type": f"{currency[:2]}_bank_transfer"}},
        "livemode": False,
        "net_amount": amount,
        "type": "funded",
    }


def cash_balance(*, customer: str, available: Obj) -> Obj:
    """What a customer has sent and has not been used."""
    return {
        "object": "cash_balance",
        "available": {currency: amount for currency, amount in available.items() if amount} or None,
        "customer": customer,
        "customer_account": None,
        "livemode": False,
        "settings": {"reconciliation_mode": "automatic", "using_merchant_default": True},
    }


def transfer_instructions(
    *, amount: int, currency: str, kind: str, reference: str, url: str
) -> Obj:
    """How a payment intent asks for a bank transfer."""
    return {
        "type": "display_bank_transfer_instructions",
        "display_bank_transfer_instructions": {
            "amount_remaining": amount,
            "currency": currency,
            "financial_addresses": [],
            "hosted_instructions_url": url,
            "reference": reference,
            "type": kind,
        },
    }
