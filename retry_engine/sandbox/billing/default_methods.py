"""Default payment methods, as they are set on a customer, a subscription or an invoice."""

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import sources


def set_default_method(account: Account, thing: Obj, params: Obj) -> Obj:
    """`default_payment_method` and `default_source` of an invoice or subscription.

    They are the customer's own, or none. Answers what was there before.
    """
    before: Obj = {}
    if "default_payment_method" in params:
        wanted = params["default_payment_method"] or None
        if wanted and _named(account, wanted)["customer"] != thing["customer"]:
            raise invalid(
                f"The customer does not have a payment method with the ID {wanted}.",
                code="resource_missing",
                param="default_payment_method",
            )
        before |= account.change(thing, default_payment_method=wanted)
    if "default_source" in params:
        wanted = params["default_source"] or None
        if wanted:
            owner = account.get("customer", thing["customer"], param="customer")
            sources.of_customer(account, owner, wanted)
        before |= account.change(thing, default_source=wanted)
    return before


def _named(account: Account, wanted: str) -> Obj:
    return account.get("payment_method", wanted, param="default_payment_method")


def new_default(account: Account, customer: Obj, method: Obj | None) -> None:
    """The customer's new default, as the portal sets it; a subscription's own stays."""
    if method is None:
        return
    settings = customer["invoice_settings"]
    before = {"invoice_settings": {"default_payment_method": settings["default_payment_method"]}}
    settings["default_payment_method"] = method["id"]
    account.emit("customer.updated", customer, before)
