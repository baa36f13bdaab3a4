"""Money that goes back: disputes, early fraud warnings, refunds."""

from retry_engine.sandbox import objects
from retry_engine.sandbox.account import Account
from retry_engine.sandbox.merging import merged
from retry_engine.sandbox.refusals import Obj, invalid


def latest_charge(account: Account, customer_id: str) -> Obj | None:
    """The customer's newest charge that went through."""
    paid = [c for c in account.of("charge", customer_id) if c["status"] == "succeeded"]
    return paid[-1] if paid else None


def dispute_latest(account: Account, customer_id: str) -> Obj | None:
    """The customer disputes their newest paid charge, if there is one that can be."""
    charge = latest_charge(account, customer_id)
    return None if charge is None or charge["disputed"] else dispute(account, charge)


def dispute(
    account: Account, charge: Obj, reason: str = "subscription_canceled", *, inquiry: bool = False
) -> Obj:
    """The customer's bank takes the money back, or asks about it first."""
    charge["disputed"] = True
    made = objects.dispute(
        id=account.new_id("dispute"), created=account.now_of(charge), charge=charge, reason=reason
    )
    if inquiry:
        made.update(status="warning_needs_response", is_charge_refundable=True)
        made["payment_method_details"]["card"]["case_type"] = "inquiry"
    account.put("dispute", made)
    account.emit("charge.dispute.created", made)
    if not inquiry:
        account.emit("charge.dispute.funds_withdrawn", made)
    return made


_ENDS = ("won", "lost", "warning_closed")
_DECIDING = {"winning_evidence": "won", "losing_evidence": "lost"}


def is_open(made: Obj) -> bool:
    """Whether nobody has decided yet."""
    return made["status"] not in _ENDS


def close_dispute(account: Account, made: Obj, status: str | None = None) -> Obj:
    """It is over: given up by the merchant (the default), won, lost, or the inquiry ended."""
    was_inquiry = str(made["status"]).startswith("warning_")
    status = status or ("warning_closed" if was_inquiry else "lost")
    if status not in _ENDS:
        raise invalid(f"status is one of {', '.join(_ENDS)}.", param="status")
    if made["status"] in _ENDS:
        raise invalid("This dispute is already closed.")
    before = account.change(made, status=status)
    account.emit("charge.dispute.updated", made, before)
    if status == "won":
        account.emit("charge.dispute.funds_reinstated", made)
    account.emit("charge.dispute.closed", made)
    return made


def update_dispute(account: Account, made: Obj, params: Obj) -> Obj:
    """`POST /v1/disputes/{id}`; certain words as evidence decide it, as in Stripe's tests."""
    if made["status"] in _ENDS:
        raise invalid("This dispute is already closed.")
    evidence = params.get("evidence") or {}
    before: Obj = {}
    if evidence:
        details = {**made["evidence_details"], "has_evidence": True}
        if params.get("submit", True):
            details["submission_count"] += 1
        before |= account.change(
            made, evidence={**made["evidence"], **evidence}, evidence_details=details
        )
    if "metadata" in params:
        both = {**made["metadata"], **(params["metadata"] or {})}
        before |= account.change(made, metadata={k: v for k, v in both.items() if v != ""})
    if evidence and params.get("submit", True):
        under = "warning_under_review" if made["is_charge_refundable"] else "under_review"
        before |= account.change(made, status=under)
    account.emit("charge.dispute.updated", made, before)
    decided = _DECIDING.get(str(evidence.get("uncategorized_text")))
    if decided and params.get("submit", True):
        close_dispute(account, made, decided)
    return made


def aftermath(account: Account, charge: Obj) -> None:
    """What the card's nature does to a charge that went through."""
    for what in account.hidden.get(charge["payment_method"], {}).get("after", ()):
        if what == "fraud_warning":
            warn_of_fraud(account, charge)
        elif what == "inquiry":
            dispute(account, charge, "general", inquiry=True)
        elif not what.startswith("refund_"):
            dispute(account, charge, what)


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
        _tell_refund(account, made, before)

    account.at(account.clock_of(charge), account.now_of(charge) + 60, "refund settles", settle)


def update_refund(account: Account, made: Obj, params: Obj) -> Obj:
    """`POST /v1/refunds/{id}`: its metadata."""
    given = merged(made["metadata"], params.get("metadata") or {})
    _tell_refund(account, made, account.change(made, metadata=given))
    return made


def cancel_refund(account: Account, made: Obj) -> Obj:
    """`POST /v1/refunds/{id}/cancel`: only those that wait for the customer, which none does."""
    raise invalid(f"Refund {made['id']} can't be canceled: its status is {made['status']}.")


def _tell_refund(account: Account, made: Obj, before: Obj) -> None:
    account.emit("refund.updated", made, before)
    account.emit("charge.refund.updated", made, before)


def _charge_of(account: Account, params: Obj) -> Obj:
    if params.get("charge"):
        return account.get("charge", params["charge"], param="charge")
    wanted = params.get("payment_intent") or ""
    intent = account.get("payment_intent", wanted, param="payment_intent")
    return account.get("charge", intent["latest_charge"] or "", param="payment_intent")
