"""Refunds."""

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.accounts.fields import merged
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj


def create(account: Account, params: Obj) -> Obj:
    """`POST /v1/refunds`."""
    charge = _charge_of(account, params)
    account.refuse_while_advancing(charge)
    left = charge["amount"] - charge["amount_refunded"]
    amount = params.get("amount") or left
    if charge["status"] != "succeeded" or not 0 < amount <= left:
        raise invalid(f"Charge {charge['id']} can't be refunded by that.", param="amount")
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    made = objects.refund(
        id=account.new_id("refund"),
        created=account.now_of(charge),
        charge=charge,
        amount=amount,
        reason=params.get("reason"),
    )
    made["metadata"] = merged({}, params.get("metadata") or {})
    account.put("refund", made)
    account.emit("refund.created", made)
    account.emit("charge.refunded", charge)
    _takes_its_time(account, charge, made)
    return made


def _takes_its_time(account: Account, charge: Obj, made: Obj) -> None:
    """Some cards' refunds begin as pending, others fail after all."""
    after = account.hidden.get(charge["payment_method"], {}).get("after", ())
    if "refund_pending" in after:
        made["status"], final = "pending", {"status": "succeeded"}
    elif "refund_fails" in after:
        final = {"status": "failed", "failure_reason": "expired_or_canceled_card"}
    else:
        return

    def settle() -> None:
        before = account.change(made, **final)
        if final["status"] == "failed":
            charge["amount_refunded"] -= made["amount"]
            charge["refunded"] = False
            account.emit("refund.failed", made)
        _tell(account, made, before)

    account.at(account.clock_of(charge), account.now_of(charge) + 60, "refund settles", settle)


def update(account: Account, made: Obj, params: Obj) -> Obj:
    """`POST /v1/refunds/{id}`: its metadata."""
    given = merged(made["metadata"], params.get("metadata") or {})
    _tell(account, made, account.change(made, metadata=given))
    return made


def cancel(account: Account, made: Obj) -> Obj:
    """`POST /v1/refunds/{id}/cancel`: only those that wait for the customer, which none does."""
    raise invalid(f"Refund {made['id']} can't be canceled: its status is {made['status']}.")


def _tell(account: Account, made: Obj, before: Obj) -> None:
    account.emit("refund.updated", made, before)
    account.emit("charge.refund.updated", made, before)


def _charge_of(account: Account, params: Obj) -> Obj:
    if params.get("charge"):
        return account.get("charge", params["charge"], param="charge")
    wanted = params.get("payment_intent") or ""
    intent = account.get("payment_intent", wanted, param="payment_intent")
    return account.get("charge", intent["latest_charge"] or "", param="payment_intent")
