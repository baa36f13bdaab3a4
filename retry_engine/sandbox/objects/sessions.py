"""Sessions: the customer portal, and saved methods in a form of a page."""

from typing import Any

from retry_engine.sandbox.objects.base import Obj


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
