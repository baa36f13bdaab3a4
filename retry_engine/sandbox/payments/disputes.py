"""Disputes and early fraud warnings."""

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj


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


def close(account: Account, made: Obj, status: str | None = None) -> Obj:
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


def update(account: Account, made: Obj, params: Obj) -> Obj:
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
        close(account, made, decided)
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
