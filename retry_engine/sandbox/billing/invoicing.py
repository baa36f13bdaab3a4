"""Invoices, as Stripe makes and ends them: drafts, finalizing, its own attempt, voiding."""

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import DAY, HOUR, Account
from retry_engine.sandbox.billing.collection import (
    collect,
    collectable,
    default_intent,
    fails_without_method,
    has_payment_under_way,
    mark_paid,
    method_for,
)
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments.charging import Result


def draft(
    account: Account, customer: Obj, *, currency: str, reason: str, subscription: Obj | None = None,
    period: tuple[int, int] | None = None, auto_advance: bool = True,
) -> Obj:  # fmt: skip
    """A draft without lines."""
    now = account.now_of(customer)
    invoice = objects.invoice(
        id=account.new_id("invoice"),
        created=now,
        customer=customer,
        currency=currency,
        reason=reason,
        subscription=subscription,
        country=account.terms.country,
        period=period or (now, now),
    )
    invoice["auto_advance"] = auto_advance
    account.put("invoice", invoice)
    if subscription is not None:
        subscription["latest_invoice"] = invoice["id"]
    return invoice


def add_line(
    account: Account, invoice: Obj, *, amount: int, description: str, period: tuple[int, int],
    subscription_item: Obj | None = None, invoice_item: str | None = None,
) -> None:  # fmt: skip
    """Put a line on a draft and add it up."""
    line = objects.line_item(
        id=account.new_id("line_item"),
        invoice=invoice["id"],
        amount=amount,
        currency=invoice["currency"],
        description=description,
        period=period,
        subscription_item=subscription_item,
        invoice_item=invoice_item,
    )
    invoice["lines"]["data"].append(line)
    total = sum(row["amount"] for row in invoice["lines"]["data"])
    for name in ("subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax"):
        invoice[name] = total
    invoice["amount_due"] = invoice["amount_remaining"] = max(0, total)


def ask_until(
    account: Account, invoice: Obj, *, days: int | None, moment: int | None = None
) -> None:
    """The invoice is sent, and due so many days after it was made, or then."""
    invoice["collection_method"] = "send_invoice"
    invoice["due_date"] = moment or invoice["created"] + int(days or 30) * DAY


def add_item(account: Account, invoice: Obj, item: Obj) -> None:
    """Put an invoice item on a draft."""
    item["invoice"] = invoice["id"]
    add_line(
        account,
        invoice,
        amount=item["amount"],
        description=item["description"] or "Item",
        period=(item["period"]["start"], item["period"]["end"]),
        invoice_item=item["id"],
    )


def plan_finalizing(account: Account, invoice: Obj) -> None:
    """Stripe finalizes a draft about an hour after it was made, and charges it then."""
    if not invoice["auto_advance"]:
        return
    when = invoice["created"] + account.terms.finalize_after
    invoice["automatically_finalizes_at"] = when
    invoice["next_payment_attempt"] = when
    account.at(
        account.clock_of(invoice),
        when,
        "invoice finalizes",
        lambda: _advance(account, invoice),
        lambda: invoice["status"] == "draft" and invoice["auto_advance"],
    )


def _advance(account: Account, invoice: Obj) -> None:
    finalize(account, invoice)
    attempt(account, invoice)


def finalize(account: Account, invoice: Obj) -> Obj:
    """Freeze the amounts and open the invoice."""
    if invoice["status"] != "draft":
        raise invalid("This invoice is already finalized, you can't re-finalize it.")
    now = account.now_of(invoice)
    customer = account.tables["customer"][invoice["customer"]]
    number = invoice["number"]
    if number is None:
        number = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
        customer["next_invoice_sequence"] += 1
    before = account.change(
        invoice,
        status="open",
        number=number,
        effective_at=now,
        hosted_invoice_url=f"{account.terms.pages_at}/i/{account.id}/test_{invoice['id']}",
        invoice_pdf=f"https://pay.stripe.com/invoice/{account.id}/test_{invoice['id']}/pdf",
        automatically_finalizes_at=None,
        next_payment_attempt=None,
        ending_balance=0,
    )
    invoice["status_transitions"] = {**invoice["status_transitions"], "finalized_at": now}
    account.emit("invoice.finalized", invoice)
    account.emit("invoice.updated", invoice, before)
    if invoice["amount_remaining"] == 0:
        mark_paid(account, invoice, 0)
    else:
        intent = default_intent(account, invoice)
        account.emit("payment_intent.created", intent)
    return invoice


def plan_first_attempt(account: Account, invoice: Obj) -> None:
    """Stripe's first attempt at an invoice that is open already."""
    when = account.now_of(invoice) + HOUR
    invoice["next_payment_attempt"] = when
    account.at(
        account.clock_of(invoice),
        when,
        "Stripe's first attempt",
        lambda: attempt(account, invoice),
        lambda: invoice["status"] == "open" and invoice["next_payment_attempt"] == when,
    )


def attempt(account: Account, invoice: Obj) -> Result | None:
    """Stripe's own attempt, with the method that is its turn."""
    if not collectable(invoice) or has_payment_under_way(account, invoice):
        return None
    if invoice["collection_method"] == "send_invoice":
        account.emit("invoice.sent", invoice)
        return None
    method = method_for(account, invoice)
    if method is None:
        fails_without_method(account, invoice)
        return None
    return collect(account, invoice, method, source="stripe")


def void(account: Account, invoice: Obj) -> Obj:
    """`POST /v1/invoices/{id}/void`: final."""
    account.refuse_while_advancing(invoice)
    if not collectable(invoice):
        raise invalid(f"You can only void open or uncollectible invoices, not {invoice['status']}.")
    _end(account, invoice, "void", "voided_at", "invoice.voided")
    _cancel_payments(account, invoice)
    return invoice


def mark_uncollectible(account: Account, invoice: Obj) -> Obj:
    """`POST /v1/invoices/{id}/mark_uncollectible`: given up, but it can still be paid."""
    account.refuse_while_advancing(invoice)
    if invoice["status"] != "open":
        raise invalid(f"Only open invoices can be marked uncollectible, not {invoice['status']}.")
    stamp = "marked_uncollectible_at"
    invoice["status_details"] = {"uncollectible": {"reason": "user_forgiven"}}
    _end(account, invoice, "uncollectible", stamp, "invoice.marked_uncollectible")
    return invoice


def _end(account: Account, invoice: Obj, status: str, stamp: str, event: str) -> None:
    before = account.change(invoice, status=status, next_payment_attempt=None)
    invoice["status_transitions"] = {
        **invoice["status_transitions"],
        stamp: account.now_of(invoice),
    }
    account.emit("invoice.updated", invoice, before)
    account.emit(event, invoice)


def _cancel_payments(account: Account, invoice: Obj) -> None:
    now = account.now_of(invoice)
    for payment in account.of("invoice_payment", invoice["id"]):
        intent = account.tables["payment_intent"][payment["payment"]["payment_intent"]]
        if intent["status"] == "processing":
            continue  # the bank has it already
        intent.update(status="canceled", canceled_at=now, cancellation_reason="void_invoice")
        payment["status"] = "canceled"
        payment["status_transitions"]["canceled_at"] = now
