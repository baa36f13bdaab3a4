"""Bank transfers: money that customers send, held as their cash until a payment wants it.

Only one-off payments take it; invoices do not.
"""

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.checkout import confirmation
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj

_TABLE = "customer_cash_balance_transaction"


def fund(account: Account, customer: Obj, params: Obj) -> Obj:
    """`POST /v1/test_helpers/customers/{id}/fund_cash_balance`: the transfer has come."""
    amount, currency = params.get("amount"), str(params.get("currency") or "").lower()
    if not amount or amount < 1 or len(currency) != 3:
        raise invalid("Missing required param: amount or currency.", param="amount")
    account.refuse_while_advancing(customer)
    held = account.hidden.setdefault(customer["id"], {}).setdefault("cash", {})
    held[currency] = held.get(currency, 0) + amount
    made = objects.cash_transaction(
        id=account.new_id(_TABLE),
        created=account.now_of(customer),
        customer=customer["id"],
        amount=amount,
        currency=currency,
        ending=held[currency],
    )
    account.put(_TABLE, made)
    account.emit(f"{_TABLE}.created", made)
    account.emit("cash_balance.funds_available", balance(account, customer))
    _apply(account, customer, held, currency)
    return made


def balance(account: Account, customer: Obj) -> Obj:
    """`GET /v1/customers/{id}/cash_balance`."""
    held = account.hidden.get(customer["id"], {}).get("cash", {})
    return objects.cash_balance(customer=customer["id"], available=held)


def _apply(account: Account, customer: Obj, held: Obj, currency: str) -> None:
    """Whatever was asked for first is paid first, in part where there is too little."""
    for intent in account.of("payment_intent", customer["id"]):
        asked = intent["next_action"] or {}
        if asked.get("type") != "display_bank_transfer_instructions":
            continue
        if intent["currency"] != currency or not held[currency]:
            continue
        told = asked["display_bank_transfer_instructions"]
        part = min(held[currency], told["amount_remaining"])
        held[currency] -= part
        told["amount_remaining"] -= part
        if told["amount_remaining"]:
            account.emit("payment_intent.partially_funded", intent)
            continue
        method = account.tables["payment_method"][intent["payment_method"]]
        confirmation.charge_own(account, intent, method, source="customer", on_session=False)
