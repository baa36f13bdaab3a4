"""Charges made directly, as before payment intents."""

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.accounts.fields import merged, store
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import (
    charging,
    outcomes,
    payment_methods,
    sources,
)

_SHOWN = (
    "description", "receipt_email", "shipping", "statement_descriptor",
    "statement_descriptor_suffix", "transfer_group",
)  # fmt: skip


def create(account: Account, params: Obj) -> Obj:
    """`POST /v1/charges`: from a token, or from one of the customer's sources."""
    amount, currency = params.get("amount"), str(params.get("currency") or "").lower()
    if not amount or amount < 1 or len(currency) != 3:
        raise invalid("Missing required param: amount or currency.", param="amount")
    customer = None
    if params.get("customer"):
        customer = account.get("customer", params["customer"], param="customer")
        account.refuse_while_advancing(customer)
    method = _charged(account, customer, params)
    # the money's bookkeeping wants an intent; nobody is shown this one
    unseen = objects.payment_intent(
        id="",
        created=account.now_of(customer or {}),
        customer=customer["id"] if customer else None,
        amount=amount,
        currency=currency,
    )
    unseen.update({n: params[n] for n in _SHOWN if n in params and n in unseen})
    if "description" not in params:
        unseen["description"] = None
    if params.get("capture") is False:
        unseen["capture_method"] = "manual"

    def settled(charge: Obj, final: outcomes.Verdict) -> None:
        if final.outcome == "succeeded":
            charging.succeeds(account, unseen, charge)
        else:
            charging.fails(account, unseen, charge, method, final)

    result = charging.attempt(
        account, unseen, method, source="api", on_session=False, on_settled=settled
    )
    _fill(account, result.charge, params)
    if not result.went_through:
        raise charging.declined(account, result)
    return result.charge


def _charged(account: Account, customer: Obj | None, params: Obj) -> Obj:
    given = params.get("source") or (customer or {}).get("default_source")
    if not given:
        raise invalid("Cannot charge a customer that has no active card", code="missing")
    if isinstance(given, dict):
        return payment_methods.card_from(account, dict(given))
    if payment_methods.is_token(account, given):
        return payment_methods.card_from(account, {"token": given})
    if customer is None:
        raise invalid(f"No such token: '{given}'", code="resource_missing", param="source")
    return sources.of_customer(account, customer, given, param="source")


def _fill(account: Account, charge: Obj, params: Obj) -> Obj:
    before = store(account, charge, params, _SHOWN)
    if "metadata" in params:
        before |= account.change(charge, metadata=merged(charge["metadata"], params["metadata"]))
    if params.get("fraud_details"):
        before |= account.change(charge, fraud_details=params["fraud_details"])
    if params.get("customer") and charge["customer"] is None:
        before |= account.change(charge, customer=params["customer"])
    return before


def update(account: Account, charge: Obj, params: Obj) -> Obj:
    """`POST /v1/charges/{id}`."""
    before = _fill(account, charge, params)
    if before:
        account.emit("charge.updated", charge, before)
    return charge


def capture(account: Account, charge: Obj, params: Obj) -> Obj:
    """`POST /v1/charges/{id}/capture`: of one that was made without being captured."""
    if charge["captured"] or charge["status"] != "succeeded":
        raise invalid(
            f"Charge {charge['id']} has already been captured.", code="charge_already_captured"
        )
    amount = int(params.get("amount") or charge["amount"])
    if not 0 < amount <= charge["amount"]:
        raise invalid("That is more than what is held.", code="amount_too_large", param="amount")
    intent = account.tables["payment_intent"].get(charge["payment_intent"] or "", {})
    charging.take(account, intent, charge, amount)
    charge["amount_refunded"] = charge["amount"] - amount
    account.emit("charge.captured", charge)
    return charge


def token(account: Account, params: Obj) -> Obj:
    """`POST /v1/tokens`: a card of one's own number."""
    if not isinstance(params.get("card"), dict):
        raise invalid("The sandbox makes tokens of cards only.", param="card")
    return sources.token(account, dict(params["card"]))
