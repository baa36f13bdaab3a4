"""Taking money for an invoice: what a charge changes for it, and Stripe's own retries."""

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import DAY, Account
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import charging
from retry_engine.sandbox.payments.charging import Result
from retry_engine.sandbox.payments.outcomes import HARD_CODES, Verdict


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
    account.hidden.setdefault(intent["id"], {})["invoice"] = invoice["id"]
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
    """The method Stripe would charge: the invoice's, the subscription's, the customer's.

    Each may name a payment method or, from older days, a source; the method goes first.
    """
    return default_of(account, invoice["customer"], invoice, subscription_of(account, invoice))


def default_of(
    account: Account, customer_id: str, invoice: Obj | None, subscription: Obj | None
) -> Obj | None:
    """What would be charged for that customer's invoice of that subscription."""
    customer = account.tables["customer"].get(customer_id) or {}
    invoice, subscription = invoice or {}, subscription or {}
    chosen = (
        invoice.get("default_payment_method")
        or invoice.get("default_source")
        or subscription.get("default_payment_method")
        or subscription.get("default_source")
        or (customer.get("invoice_settings") or {}).get("default_payment_method")
        or customer.get("default_source")
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
    intent = default_intent(account, invoice)
    intent["amount"] = invoice["amount_remaining"]
    hidden = account.hidden.setdefault(invoice["id"], {})
    hidden["last_method"] = method["id"]
    first = _count(invoice, source)
    result = charging.attempt(
        account,
        intent,
        method,
        source=source,
        on_session=on_session,
        invoice=invoice["id"],
        on_settled=lambda charge, final: _settled(account, invoice, charge, final),
    )
    if result.verdict.outcome == "succeeded":
        _brings(account, invoice, intent, result.charge)
    elif result.verdict.outcome == "processing":
        before = account.change(invoice, next_payment_attempt=None)
        account.emit("invoice.updated", invoice, before)
    else:
        _fails(account, invoice, method, result.verdict, first=first)
    return result


def _count(invoice: Obj, source: str) -> bool:
    """Stripe's count: the first attempt of any kind, then only its own retries."""
    first = bool(invoice["attempt_count"] == 0)
    if first or source == "stripe":
        invoice["attempt_count"] += 1
    invoice["attempted"] = True
    return first


def _brings(account: Account, invoice: Obj, intent: Obj, charge: Obj) -> None:
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


def _settled(account: Account, invoice: Obj, charge: Obj, final: Verdict) -> None:
    intent = account.tables["payment_intent"][charge["payment_intent"]]
    if final.outcome == "succeeded":
        charging.succeeds(account, intent, charge)
        _brings(account, invoice, intent, charge)
        return
    if not collectable(invoice):
        intent["status"] = "canceled"
        account.emit("charge.failed", charge)
        return
    method = account.tables["payment_method"][charge["payment_method"]]
    first = invoice["attempt_count"] == 1 and "first_failed_at" not in account.hidden[invoice["id"]]
    charging.fails(account, intent, charge, method, final)
    _fails(account, invoice, method, final, first=first)


def _fails(account: Account, invoice: Obj, method: Obj, verdict: Verdict, *, first: bool) -> None:
    hidden = account.hidden.setdefault(invoice["id"], {})
    hidden["last_code"] = charging.ledger_code(verdict)
    hidden["last_country"] = method.get("card", {}).get("country")
    _after_failure(account, invoice, first=first)
    account.emit("invoice.payment_failed", invoice)
    if verdict.outcome == "requires_action":
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


def has_payment_under_way(account: Account, invoice: Obj) -> bool:
    """Whether a debit has been sent whose result is not known yet."""
    intents = account.tables["payment_intent"]
    payments = account.of("invoice_payment", invoice["id"])
    return any(intents[p["payment"]["payment_intent"]]["status"] == "processing" for p in payments)


def pay_on_page(account: Account, invoice: Obj, method: Obj) -> Result | None:
    """The customer pays on the hosted page, being there to authenticate."""
    if not collectable(invoice) or has_payment_under_way(account, invoice):
        return None
    return collect(account, invoice, method, source="customer", on_session=True)
