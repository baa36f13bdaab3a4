"""Customers: made, changed, deleted."""

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.accounts.fields import merged
from retry_engine.sandbox.billing import discounts, lifecycle
from retry_engine.sandbox.errors import invalid, missing
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import payment_methods, sources

# what is not simply stored under its own name
_SPECIAL = (
    "expand", "payment_method", "test_clock", "source", "default_source", "invoice_settings",
    "coupon",  # of older versions
    "validate",  # test cards are
)  # fmt: skip


def create(account: Account, params: Obj) -> Obj:
    """`POST /v1/customers`; `payment_method` and `source` may be Stripe's test names."""
    clock = params.get("test_clock") or None
    if clock:
        account.get("test_helpers.test_clock", clock, param="test_clock")
    customer = objects.customer(
        id=account.new_id("customer"),
        created=account.clock_now(clock),
        clock=clock,
        prefix="".join(account.rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=8)),
    )
    account.put("customer", customer)
    try:
        _tie(account, customer, params)
        _fill(account, customer, params)
    except Exception:
        _never_was(account, customer)
        raise
    account.emit("customer.created", customer)
    if params.get("coupon"):
        discounts.set_on_customer(account, customer, params["coupon"])
    return customer


def _tie(account: Account, customer: Obj, params: Obj) -> None:
    """The methods that are given with a new customer; one named twice is one method."""
    settings = dict(params.get("invoice_settings") or {})
    named, default = params.get("payment_method"), settings.get("default_payment_method")
    kept = payment_methods.attach(account, named, customer["id"])["id"] if named else None
    if default and payment_methods.is_test_name(default):
        same = kept is not None and default == named
        chosen = kept if same else payment_methods.attach(account, default, customer["id"])["id"]
        params["invoice_settings"] = {**settings, "default_payment_method": chosen}
    if params.get("source"):
        sources.create(account, customer, params["source"])


def _never_was(account: Account, customer: Obj) -> None:
    """A customer whose card was refused is not made."""
    del account.tables["customer"][customer["id"]]
    for method in account.of("payment_method", customer["id"]):
        payment_methods.drop(account, method)


def update(account: Account, customer: Obj, params: Obj) -> Obj:
    """`POST /v1/customers/{id}`."""
    account.refuse_while_advancing(customer)
    before: Obj = {}
    was = customer["default_source"]
    if params.get("source"):
        sources.replace_default(account, customer, params["source"])
    elif params.get("default_source"):
        wanted = sources.of_customer(account, customer, params["default_source"])["id"]
        customer["default_source"] = wanted
    if customer["default_source"] != was:
        before["default_source"] = was
    before |= _fill(account, customer, params)
    if "coupon" in params:
        before |= discounts.set_on_customer(account, customer, params["coupon"])
    if before:
        account.emit("customer.updated", customer, before)
    return customer


def _fill(account: Account, customer: Obj, params: Obj) -> Obj:
    before: Obj = {}
    for name, value in params.items():
        if name == "invoice_settings":
            before |= _invoice_settings(account, customer, value or {})
        if name in _SPECIAL:
            continue
        given = merged(customer["metadata"], value) if name == "metadata" else value
        if name == "address" and isinstance(given, dict):
            given = {**objects.billing_details()["address"], **given}
        before |= account.change(customer, **{name: None if given == "" else given})
    return before


def _invoice_settings(account: Account, customer: Obj, given: Obj) -> Obj:
    settings = customer["invoice_settings"]
    before = dict(settings)
    wanted = given.get("default_payment_method", settings["default_payment_method"]) or None
    if wanted and payment_methods.is_test_name(wanted):
        wanted = payment_methods.attach(account, wanted, customer["id"])["id"]
    if wanted:
        method = account.get("payment_method", wanted, param="invoice_settings")
        if method["customer"] != customer["id"]:
            raise invalid(
                f"The customer does not have a payment method with the ID {wanted}.",
                code="resource_missing",
                param="invoice_settings[default_payment_method]",
            )
    shown: Obj = {n: given[n] or None for n in ("custom_fields", "footer") if n in given}
    if "rendering_options" in given:
        shown["rendering_options"] = {
            "amount_tax_display": None, "template": None, **(given["rendering_options"] or {}),
        }  # fmt: skip
    customer["invoice_settings"] = {**settings, **shown, "default_payment_method": wanted}
    return {"invoice_settings": before} if before != customer["invoice_settings"] else {}


def retrieve(account: Account, wanted: str) -> Obj:
    """`GET /v1/customers/{id}`; of who was deleted only that is told."""
    customer = account.tables["customer"].get(wanted)
    if customer is None:
        raise missing("customer", wanted)
    return _gone(wanted) if customer.get("deleted") else customer


def _gone(customer_id: str) -> Obj:
    return {"id": customer_id, "object": "customer", "deleted": True}


def delete(account: Account, customer: Obj) -> Obj:
    """`DELETE /v1/customers/{id}`: subscriptions end, methods go; it cannot be undone."""
    account.refuse_while_advancing(customer)
    return bury(account, customer)


def bury(account: Account, customer: Obj) -> Obj:
    """The customer is gone; the id and that it was deleted remain."""
    owner = customer["id"]
    for subscription in account.of("subscription", owner):
        if subscription["status"] not in ("canceled", "incomplete_expired"):
            lifecycle.end(account, subscription, reason="cancellation_requested")
    for method in account.of("payment_method", owner):
        payment_methods.untie(account, method)
    account.emit("customer.deleted", customer)
    clock = customer["test_clock"]
    customer.clear()
    # what belonged to the customer still lives on their clock
    customer.update(_gone(owner), test_clock=clock, created=0)
    return _gone(owner)
