"""Legacy sources: cards as accounts kept them before payment methods.

A legacy card is one thing with two faces, as at Stripe: `/v1/customers/…/sources` shows a `card`,
`/v1/payment_methods` the same id as a payment method. It is kept as the latter. Bank accounts and
`src_…` objects are not simulated.
"""

from copy import deepcopy

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.errors import invalid, missing
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import payment_methods

_BRANDS = {
    "visa": "Visa", "mastercard": "MasterCard", "amex": "American Express",
    "discover": "Discover", "diners": "Diners Club", "jcb": "JCB", "unionpay": "UnionPay",
}  # fmt: skip
_ADDRESS = {
    "address_city": "city", "address_country": "country", "address_line1": "line1",
    "address_line2": "line2", "address_state": "state", "address_zip": "postal_code",
}  # fmt: skip


def is_legacy(method: Obj) -> bool:
    """Whether it is a card of the old kind."""
    return str(method["id"]).startswith("card_")


def card_of(method: Obj) -> Obj:
    """The card, as the sources API shows it."""
    return objects.legacy_card(deepcopy(method), brand=_BRANDS.get(method["card"]["brand"], "Visa"))


def create(account: Account, customer: Obj, given: object, metadata: object = None) -> Obj:
    """`POST /v1/customers/{id}/sources`; the first one is the default."""
    method = _new(account, customer, given)
    if metadata:
        payment_methods.set_metadata(account, method, metadata)
    account.emit("customer.source.created", card_of(method))
    if customer["default_source"] is None:
        set_default(account, customer, method["id"])
    return card_of(method)


def replace_default(account: Account, customer: Obj, given: object) -> None:
    """The `source` of a customer's update: another default, in place of the one before."""
    before = customer["default_source"]
    method = _new(account, customer, given)
    account.emit("customer.source.created", card_of(method))
    if before is not None:
        forget(account, customer, account.tables["payment_method"][before])
    customer["default_source"] = method["id"]


def _new(account: Account, customer: Obj, given: object) -> Obj:
    account.refuse_while_advancing(customer)
    if isinstance(given, dict):
        named = payment_methods.card_from(account, dict(given))
    elif isinstance(given, str) and payment_methods.is_token(account, given):
        named = payment_methods.card_from(account, {"token": given})
    else:
        raise invalid(f"No such token: '{given}'", code="resource_missing", param="source")
    refusal = payment_methods.refuses_attaching(account, named)
    if refusal is not None:
        payment_methods.drop(account, named)
        raise refusal
    method = payment_methods.rename(account, named, account.new_id("card"))
    method["customer"] = customer["id"]
    if customer["test_clock"]:
        method["created"] = account.now_of(customer)
    return account.put("payment_method", method)


def set_default(account: Account, customer: Obj, wanted: str) -> None:
    """The customer's `default_source`, told as their update."""
    before = account.change(customer, default_source=of_customer(account, customer, wanted)["id"])
    if before:
        account.emit("customer.updated", customer, before)


def of_customer(
    account: Account, customer: Obj, wanted: str, *, param: str = "default_source"
) -> Obj:
    """One of the customer's sources, or Stripe's 400."""
    method = account.tables["payment_method"].get(wanted)
    if method is None or method["customer"] != customer["id"] or not is_legacy(method):
        raise invalid(
            f"Customer {customer['id']} does not have a linked source with ID {wanted}.",
            code="resource_missing",
            param=param,
        )
    return method


def retrieve(account: Account, customer: Obj, wanted: str) -> Obj:
    """`GET /v1/customers/{id}/sources/{id}`."""
    method = account.tables["payment_method"].get(wanted)
    if method is None or method["customer"] != customer["id"] or not is_legacy(method):
        raise missing("source", wanted)
    return method


def cards(account: Account, customer: Obj) -> list[Obj]:
    """The customer's sources, newest first."""
    kept = account.newest_first("payment_method", customer["id"])
    return [card_of(m) for m in kept if is_legacy(m)]


def update(account: Account, customer: Obj, wanted: str, params: Obj) -> Obj:
    """`POST /v1/customers/{id}/sources/{id}`: a new expiry, name, address or metadata."""
    method = retrieve(account, customer, wanted)
    account.refuse_while_advancing(customer)
    was = card_of(method)
    payment_methods.renew(method, params.get("exp_month"), params.get("exp_year"))
    details = method["billing_details"]
    if "name" in params:
        details["name"] = params["name"] or None
    for name, kept in _ADDRESS.items():
        if name in params:
            details["address"][kept] = params[name] or None
    if "metadata" in params:
        payment_methods.set_metadata(account, method, params["metadata"])
    return tell_update(account, method, was)


def tell_update(account: Account, method: Obj, was: Obj) -> Obj:
    """The card differs from what it `was`."""
    now = card_of(method)
    before = {name: value for name, value in was.items() if now[name] != value}
    account.emit("customer.source.updated", now, before)
    return now


def delete(account: Account, customer: Obj, wanted: str) -> Obj:
    """`DELETE /v1/customers/{id}/sources/{id}`: the next newest becomes the default."""
    method = retrieve(account, customer, wanted)
    account.refuse_while_advancing(customer)
    forget(account, customer, method)
    left = cards(account, customer)
    if customer["default_source"] is None and left:
        set_default(account, customer, left[0]["id"])
    return {"id": wanted, "object": "card", "deleted": True}


def forget(account: Account, customer: Obj, method: Obj) -> None:
    """The customer no longer has it; who relied on it has nothing."""
    shown = card_of(method)
    payment_methods.untie(account, method)
    account.emit("customer.source.deleted", shown)


def token(account: Account, given: Obj) -> Obj:
    """A token of a card; whoever sends it back has the card."""
    method = payment_methods.card_from(account, given)
    made = objects.token(
        id=account.new_id("token"), created=account.real_now(), card=card_of(method)
    )
    account.hidden[made["id"]] = {"method": method["id"]}
    return account.put("token", made)
