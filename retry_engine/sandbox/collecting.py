"""Taking money for an invoice: the charge, what it changes, and Stripe's own retries."""

from dataclasses import dataclass
from typing import Any

from retry_engine.sandbox import objects, verdicts
from retry_engine.sandbox.account import DAY, Account, Try
from retry_engine.sandbox.methods import mandate_of
from retry_engine.sandbox.refusals import Obj
from retry_engine.sandbox.verdicts import HARD_CODES, Verdict

_SHOWN = {
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "incorrect_number": "Your card number is incorrect.",
    "insufficient_funds": "Your card has insufficient funds.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
}


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one attempt."""

    verdict: Verdict
    charge: Obj
    intent: Obj


def collectable(invoice: Obj) -> bool:
    """Whether money may still be taken for it."""
    return bool(invoice["status"] in ("open", "uncollectible"))


def default_intent(account: Account, invoice: Obj) -> Obj:
    """The payment intent of the invoice's default payment."""
    for payment in account.of("invoice_payment", invoice["id"]):
        if payment["is_default"]:
            return account.tables["payment_intent"][payment["payment"]["payment_intent"]]
    now = account.now_of(invoice)
    intent = objects.payment_intent(
        id=account.new_id("payment_intent"),
        created=now,
        customer=invoice["customer"],
        amount=invoice["amount_remaining"],
        currency=invoice["currency"],
    )
    account.put("payment_intent", intent)
    payment = objects.invoice_payment(
        id=account.new_id("invoice_payment"),
        created=now,
        invoice=invoice,
        intent=intent["id"],
        is_default=True,
    )
    account.put("invoice_payment", payment)
    return intent


def method_for(account: Account, invoice: Obj) -> Obj | None:
    """The method Stripe would charge: the invoice's, the subscription's, the customer's."""
    subscription = subscription_of(account, invoice)
    customer = account.tables["customer"].get(invoice["customer"]) or {}
    chosen = (
        invoice["default_payment_method"]
        or (subscription or {}).get("default_payment_method")
        or (customer.get("invoice_settings") or {}).get("default_payment_method")
    )
    return account.tables["payment_method"].get(chosen) if chosen else None


def subscription_of(account: Account, invoice: Obj) -> Obj | None:
    """The subscription an invoice is for."""
    details = ((invoice["parent"] or {}).get("subscription_details")) or {}
    return account.tables["subscription"].get(details.get("subscription") or "")


def collect(
    account: Account, invoice: Obj, method: Obj, *, source: str, on_session: bool = False
) -> Result:
    """Charge all that remains. `source`: stripe, api or customer."""
    now = account.now_of(invoice)
    intent = default_intent(account, invoice)
    intent["amount"] = invoice["amount_remaining"]
    verdict = verdicts.decide(
        account, method, amount=intent["amount"], at=now, on_session=on_session
    )
    charge = _charge(account, intent, method, verdict, now)
    account.ledger.append(
        Try(
            invoice=invoice["id"],
            customer=invoice["customer"],
            payment_method=method["id"],
            fingerprint=method[method["type"]].get("fingerprint"),
            at=now,
            amount=charge["amount"],
            currency=charge["currency"],
            outcome=verdict.outcome,
            decline_code=_ledger_code(verdict),
            source=source,
            charge=charge["id"],
            idempotency_key=account.cause.idempotency_key,
        )
    )
    account.hidden.setdefault(invoice["id"], {})["last_method"] = method["id"]
    first = _count(invoice, source)
    if verdict.outcome == "succeeded":
        _succeeds(account, invoice, intent, charge)
    elif verdict.outcome == "processing":
        _waits(account, invoice, intent, charge, verdict)
    else:
        _fails(account, invoice, charge, method, verdict, first=first)
    return Result(verdict, charge, intent)


def _count(invoice: Obj, source: str) -> bool:
    """Stripe's count: the first attempt of any kind, then only its own retries."""
    first = bool(invoice["attempt_count"] == 0)
    if first or source == "stripe":
        invoice["attempt_count"] += 1
    invoice["attempted"] = True
    return first


def _ledger_code(verdict: Verdict) -> str | None:
    """The finest name of a decline; Stripe's own blocks by their reason."""
    if verdict.outcome_type == "blocked":
        return verdict.reason
    return verdict.decline_code


def _charge(account: Account, intent: Obj, method: Obj, verdict: Verdict, now: int) -> Obj:
    details = objects.method_details(method, mandate_of(account, method))
    charge = objects.charge(
        id=account.new_id("charge"),
        created=now,
        intent=intent,
        method=method,
        amount=intent["amount"],
        details=details,
    )
    charge["outcome"] = _outcome(verdict)
    if verdict.outcome in ("failed", "requires_action"):
        _write_failure(charge, verdict)
    intent["latest_charge"] = charge["id"]
    return account.put("charge", charge)


def _outcome(verdict: Verdict) -> Obj:
    return {
        "advice_code": verdict.advice_code,
        "network_advice_code": verdict.network_advice_code,
        "network_decline_code": verdict.network_decline_code,
        "network_status": verdict.network_status,
        "reason": verdict.reason,
        "risk_level": "not_assessed" if verdict.debit else verdict.risk_level,
        "seller_message": _seller_message(verdict),
        "type": verdict.outcome_type,
    }


def _seller_message(verdict: Verdict) -> str:
    if verdict.outcome_type == "blocked":
        return "Stripe blocked this payment."
    if verdict.outcome in ("failed", "requires_action"):
        return f"The bank returned the decline code `{verdict.decline_code}`."
    return "Payment complete."


def _message(verdict: Verdict) -> str:
    if verdict.debit:
        return "The customer's bank did not honour the debit."
    return _SHOWN.get(verdict.decline_code or "", "Your card was declined.")


def _write_failure(charge: Obj, verdict: Verdict) -> None:
    charge.update(status="failed", failure_code=verdict.code, failure_message=_message(verdict))


def _succeeds(account: Account, invoice: Obj, intent: Obj, charge: Obj) -> None:
    charge.update(
        status="succeeded",
        paid=True,
        captured=True,
        amount_captured=charge["amount"],
        balance_transaction=account.new_id("balance_transaction"),
    )
    intent.update(
        status="succeeded",
        amount_received=charge["amount"],
        last_payment_error=None,
        next_action=None,
        payment_method=charge["payment_method"],
        processing=None,
    )
    account.emit("charge.succeeded", charge)
    account.emit("payment_intent.succeeded", intent)
    for payment in account.of("invoice_payment", invoice["id"]):
        if payment["payment"]["payment_intent"] == intent["id"]:
            payment.update(status="paid", amount_paid=charge["amount"])
            payment["status_transitions"]["paid_at"] = account.now_of(invoice)
            account.emit("invoice_payment.paid", payment)
    mark_paid(account, invoice, charge["amount"])


def mark_paid(account: Account, invoice: Obj, amount: int, *, out_of_band: bool = False) -> None:
    """The invoice is paid; its subscription follows."""
    before = account.change(
        invoice,
        status="paid",
        amount_paid=invoice["amount_paid"] + amount,
        amount_paid_off_stripe=amount if out_of_band else 0,
        amount_remaining=0,
        attempted=True,
        next_payment_attempt=None,
        ending_balance=0,
    )
    invoice["status_transitions"] = {
        **invoice["status_transitions"],
        "paid_at": account.now_of(invoice),
    }
    account.emit("invoice.updated", invoice, before)
    account.emit("invoice.paid", invoice)
    if not out_of_band:
        account.emit("invoice.payment_succeeded", invoice)
    subscription = subscription_of(account, invoice)
    if (
        subscription
        and subscription["status"] in ("past_due", "incomplete", "unpaid")
        and subscription["latest_invoice"] == invoice["id"]
    ):
        was = account.change(subscription, status="active")
        account.emit("customer.subscription.updated", subscription, was)
    customer = account.tables["customer"].get(invoice["customer"])
    if customer and customer["delinquent"]:
        customer["delinquent"] = False


def _waits(account: Account, invoice: Obj, intent: Obj, charge: Obj, verdict: Verdict) -> None:
    """A bank debit is on its way."""
    charge["outcome"] = {**_outcome(verdict), "type": "authorized", "reason": None}
    kind = charge["payment_method_details"]["type"]
    intent.update(
        status="processing",
        payment_method=charge["payment_method"],
        last_payment_error=None,
        processing={"type": kind} if kind == "card" else None,
    )
    before = account.change(invoice, next_payment_attempt=None)
    account.emit("charge.pending", charge)
    account.emit("payment_intent.processing", intent)
    account.emit("invoice.updated", invoice, before)
    entry = account.ledger[-1]
    account.at(
        account.clock_of(invoice),
        account.now_of(invoice) + (verdict.settles_after or 0),
        "debit settles",
        lambda: _settle(account, invoice, charge, verdict.settles_as, entry),
    )


def _settle(account: Account, invoice: Obj, charge: Obj, final: Verdict | None, entry: Try) -> None:
    intent = account.tables["payment_intent"][charge["payment_intent"]]
    final = final or verdicts.SUCCEEDED
    entry.outcome, entry.decline_code = final.outcome, _ledger_code(final)
    entry.settled_at = account.now_of(invoice)
    charge["outcome"] = _outcome(final)
    if final.outcome == "succeeded":
        _succeeds(account, invoice, intent, charge)
        return
    _write_failure(charge, final)
    if not collectable(invoice):
        intent["status"] = "canceled"
        account.emit("charge.failed", charge)
        return
    method = account.tables["payment_method"][charge["payment_method"]]
    first = invoice["attempt_count"] == 1 and "first_failed_at" not in account.hidden[invoice["id"]]
    _fails(account, invoice, charge, method, final, first=first)


def _fails(
    account: Account, invoice: Obj, charge: Obj, method: Obj, verdict: Verdict, *, first: bool
) -> None:
    intent = account.tables["payment_intent"][charge["payment_intent"]]
    needs_customer = verdict.outcome == "requires_action"
    error = objects.error_of(
        verdict, message=_message(verdict), charge=charge["id"], method=account.bare(method)
    )
    action: Obj = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
    intent.update(
        status="requires_action" if needs_customer else "requires_payment_method",
        payment_method=method["id"] if needs_customer else None,
        last_payment_error=error,
        next_action=action if needs_customer else None,
        processing=None,
    )
    hidden = account.hidden.setdefault(invoice["id"], {})
    hidden["last_code"] = _ledger_code(verdict)
    hidden["last_country"] = method.get("card", {}).get("country")
    account.emit("charge.failed", charge)
    account.emit("payment_intent.payment_failed", intent)
    if needs_customer:
        account.emit("payment_intent.requires_action", intent)
    _after_failure(account, invoice, first=first)
    account.emit("invoice.payment_failed", invoice)
    if needs_customer:
        account.emit("invoice.payment_action_required", invoice)


def fails_without_method(account: Account, invoice: Obj) -> None:
    """Stripe's attempt finds nothing to charge: it counts, and there is no charge."""
    first = _count(invoice, "stripe")
    account.hidden.setdefault(invoice["id"], {})["last_code"] = None
    _after_failure(account, invoice, first=first)
    account.emit("invoice.payment_failed", invoice)


def _after_failure(account: Account, invoice: Obj, *, first: bool) -> None:
    hidden = account.hidden.setdefault(invoice["id"], {})
    hidden.setdefault("first_failed_at", account.now_of(invoice))
    before: Obj = {"attempted": False} if first else {}
    planned = invoice["next_payment_attempt"]
    if planned is None or planned <= account.now_of(invoice):
        plan_retry(account, invoice)
        if invoice["next_payment_attempt"] != planned:
            before["next_payment_attempt"] = planned
    account.emit("invoice.updated", invoice, before or {"attempt_count": invoice["attempt_count"]})
    subscription = subscription_of(account, invoice)
    if subscription and subscription["status"] in ("active", "trialing"):
        was = account.change(subscription, status="past_due")
        account.emit("customer.subscription.updated", subscription, was)
    customer = account.tables["customer"].get(invoice["customer"])
    if customer:
        customer["delinquent"] = True
    if first:
        for listener in account.on_failure:
            listener(invoice)


def plan_retry(account: Account, invoice: Obj, *, too_late: int | None = None) -> None:
    """Stripe's next own attempt: so many days after the first failure, or none any more.

    `too_late`: when to try where all slots have passed and attempts are left.
    """
    days = account.terms.retry_days
    done = invoice["attempt_count"] - 1
    now = account.now_of(invoice)
    subscription = subscription_of(account, invoice)
    stopped = subscription is not None and subscription["status"] in (
        "canceled", "incomplete", "incomplete_expired", "paused",
    )  # fmt: skip
    may = (
        invoice["status"] == "open"
        and invoice["auto_advance"]
        and invoice["collection_method"] == "charge_automatically"
        and not stopped
        and 0 <= done < len(days)
    )
    if not may:
        invoice["next_payment_attempt"] = None
        return
    started = account.hidden.get(invoice["id"], {}).get("first_failed_at", now)
    slots = [started + int(day * DAY) for day in days[done:]]
    ahead = [slot for slot in slots if slot > now]
    when = ahead[0] if ahead else too_late
    if when is None:
        invoice["next_payment_attempt"] = None
        return
    invoice["next_payment_attempt"] = when
    account.at(
        account.clock_of(invoice),
        when,
        "Stripe retries",
        lambda: _stripe_retries(account, invoice),
        lambda: collectable(invoice) and invoice["next_payment_attempt"] == when,
    )


def _stripe_retries(account: Account, invoice: Obj) -> None:
    method = method_for(account, invoice)
    hidden = account.hidden.setdefault(invoice["id"], {})
    if method is None:
        fails_without_method(account, invoice)
        return
    same = method["id"] == hidden.get("last_method")
    if same and (hidden.get("last_code") in HARD_CODES or hidden.get("last_country") == "IN"):
        # scheduled and counted, but not carried out with what cannot work
        before = account.change(invoice, attempt_count=invoice["attempt_count"] + 1)
        plan_retry(account, invoice)
        account.emit("invoice.updated", invoice, before)
        return
    collect(account, invoice, method, source="stripe")


def decline_error(account: Account, result: Result) -> Obj:
    """The fields that a 402 carries beside type, code and message."""
    verdict = result.verdict
    return {
        "decline_code": verdict.decline_code,
        "advice_code": verdict.advice_code,
        "network_advice_code": verdict.network_advice_code,
        "network_decline_code": verdict.network_decline_code,
        "charge": result.charge["id"],
        "payment_intent": account.bare(result.intent),
        "payment_method": (result.intent["last_payment_error"] or {}).get("payment_method"),
    }


def message_of(result: Result) -> str:
    """What a 402 says."""
    return _message(result.verdict)


def has_payment_under_way(account: Account, invoice: Obj) -> bool:
    """Whether a debit has been sent whose result is not known yet."""
    intents = account.tables["payment_intent"]
    payments: list[dict[str, Any]] = account.of("invoice_payment", invoice["id"])
    return any(intents[p["payment"]["payment_intent"]]["status"] == "processing" for p in payments)
