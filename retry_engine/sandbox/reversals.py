"""Money that goes back: disputes, early fraud warnings, refunds."""

from retry_engine.sandbox import objects
from retry_engine.sandbox.account import Account
from retry_engine.sandbox.refusals import Obj, invalid


def latest_charge(account: Account, customer_id: str) -> Obj | None:
    """The customer's newest charge that went through."""
    paid = [c for c in account.of("charge", customer_id) if c["status"] == "succeeded"]
    return paid[-1] if paid else None


def dispute_latest(account: Account, customer_id: str) -> Obj | None:
    """The customer disputes their newest paid charge, if there is one that can be."""
    charge = latest_charge(account, customer_id)
    return None if charge is None or charge["disputed"] else dispute(account, charge)


def dispute(account: Account, charge: Obj, reason: str = "subscription_canceled") -> Obj:
    """The customer's bank takes the money back."""
    charge["disputed"] = True
    made = objects.dispute(
        id=account.new_id("dispute"), created=account.now_of(charge), charge=charge, reason=reason
    )
    account.put("dispute", made)
    account.emit("charge.dispute.created", made)
    return made


def warn_of_fraud(account: Account, charge: Obj) -> Obj:
    """The card network says that a charge may not be the cardholder's."""
    made = objects.early_fraud_warning(
        id=account.new_id("radar.early_fraud_warning"),
        created=account.now_of(charge),
        charge=charge,
    )
    account.put("radar.early_fraud_warning", made)
    account.emit("radar.early_fraud_warning.created", made)
    return made


def refund(account: Account, params: Obj) -> Obj:
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
    account.put("refund", made)
    account.emit("refund.created", made)
    account.emit("charge.refunded", charge)
    return made


def _charge_of(account: Account, params: Obj) -> Obj:
    if params.get("charge"):
        return account.get("charge", params["charge"], param="charge")
    wanted = params.get("payment_intent") or ""
    intent = account.get("payment_intent", wanted, param="payment_intent")
    return account.get("charge", intent["latest_charge"] or "", param="payment_intent")
