"""Invoices: drafts, finalizing, paying, voiding, giving up."""

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts import fields
from retry_engine.sandbox.accounts.account import DAY, HOUR, Account
from retry_engine.sandbox.accounts.fields import merged
from retry_engine.sandbox.billing.collection import (
    collect,
    collectable,
    default_intent,
    fails_without_method,
    has_payment_under_way,
    mark_paid,
    method_for,
    plan_retry,
)
from retry_engine.sandbox.errors import Refused, invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import charging, payment_methods, sources
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


def create(account: Account, params: Obj) -> Obj:
    """`POST /v1/invoices`: takes the customer's waiting invoice items along."""
    if not params.get("customer"):
        raise invalid("Missing required param: customer.", param="customer")
    customer = account.get("customer", params["customer"], param="customer")
    account.refuse_while_advancing(customer)
    waiting = [i for i in account.of("invoiceitem", customer["id"]) if not i["invoice"]]
    currency = params.get("currency") or (waiting[0]["currency"] if waiting else None)
    invoice = draft(
        account,
        customer,
        currency=currency or account.terms.default_currency,
        reason="manual",
        auto_advance=bool(params.get("auto_advance", False)),
    )
    try:
        set_default_method(account, invoice, params)
        _set_terms(account, invoice, params)
    except Exception:
        del account.tables["invoice"][invoice["id"]]
        raise
    if params.get("pending_invoice_items_behavior") != "exclude":
        for item in waiting:
            take(account, invoice, item)
    account.emit("invoice.created", invoice)
    plan_finalizing(account, invoice)
    return invoice


# stored and shown as they were given
_SHOWN = (
    "description", "footer", "custom_fields", "statement_descriptor", "shipping_details", "number",
)  # fmt: skip


def _set_terms(account: Account, invoice: Obj, params: Obj) -> Obj:
    """What can be said of an invoice while it is a draft, and partly later; what was before."""
    before = fields.store(account, invoice, params, _SHOWN)
    if "metadata" in params:
        before |= account.change(invoice, metadata=merged(invoice["metadata"], params["metadata"]))
    if "payment_settings" in params:
        shown = fields.payment_settings(
            invoice["payment_settings"], params["payment_settings"] or {}
        )
        before |= account.change(invoice, payment_settings=shown)
    method = params.get("collection_method") or invoice["collection_method"]
    if method not in ("charge_automatically", "send_invoice"):
        raise invalid("Invalid collection_method", param="collection_method")
    before |= account.change(invoice, collection_method=method)
    if params.get("days_until_due") is None and params.get("due_date") is None:
        return before
    if method != "send_invoice":
        raise invalid(
            "days_until_due and due_date belong to invoices that are sent.",
            param="days_until_due",
        )
    was = invoice["due_date"]
    ask_until(account, invoice, days=params.get("days_until_due"), moment=params.get("due_date"))
    return before | ({"due_date": was} if was != invoice["due_date"] else {})


def ask_until(
    account: Account, invoice: Obj, *, days: int | None, moment: int | None = None
) -> None:
    """The invoice is sent, and due so many days after it was made, or then."""
    invoice["collection_method"] = "send_invoice"
    invoice["due_date"] = moment or invoice["created"] + int(days or 30) * DAY


def delete(account: Account, invoice: Obj) -> Obj:
    """`DELETE /v1/invoices/{id}`: only a draft that no subscription made."""
    account.refuse_while_advancing(invoice)
    if invoice["status"] != "draft" or invoice["parent"]:
        raise invalid(
            "You can only delete draft invoices that were not made by a subscription.",
            code="invoice_not_editable",
        )
    del account.tables["invoice"][invoice["id"]]
    for item in account.of("invoiceitem", invoice["customer"]):
        if item["invoice"] == invoice["id"]:
            del account.tables["invoiceitem"][item["id"]]
    account.emit("invoice.deleted", invoice)
    return {"id": invoice["id"], "object": "invoice", "deleted": True}


def take(account: Account, invoice: Obj, item: Obj) -> None:
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


def finalize_by_hand(account: Account, invoice: Obj, params: Obj) -> Obj:
    """`POST /v1/invoices/{id}/finalize`; with auto_advance Stripe charges it an hour later."""
    account.refuse_while_advancing(invoice)
    if "auto_advance" in params:
        invoice["auto_advance"] = bool(params["auto_advance"])
    finalize(account, invoice)
    if invoice["status"] == "open" and invoice["auto_advance"]:
        plan_first_attempt(account, invoice)
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


def pay(account: Account, invoice: Obj, params: Obj) -> Obj:
    """`POST /v1/invoices/{id}/pay`: all of what remains, once, or a 402."""
    account.refuse_while_advancing(invoice)
    _refuse_what_cannot_be_paid(account, invoice)
    if params.get("paid_out_of_band"):
        _open_first(account, invoice)
        mark_paid(account, invoice, invoice["amount_remaining"], out_of_band=True)
        return invoice
    method = _method_to_pay_with(account, invoice, params)
    _open_first(account, invoice)
    if invoice["status"] == "paid":
        return invoice
    on_session = not params.get("off_session", True)
    result = collect(account, invoice, method, source="api", on_session=on_session)
    if result.went_through:
        return invoice
    raise _declined(account, result)


def _open_first(account: Account, invoice: Obj) -> None:
    if invoice["status"] == "draft":
        finalize(account, invoice)


def _refuse_what_cannot_be_paid(account: Account, invoice: Obj) -> None:
    # There is no code for any of these: who asks has to read the invoice again.
    if invoice["status"] == "paid":
        raise invalid("Invoice is already paid")
    if invoice["status"] == "void":
        raise invalid("Invoice is voided and can no longer be paid")
    if has_payment_under_way(account, invoice):
        raise invalid("This invoice has a payment that is still processing")


def _method_to_pay_with(account: Account, invoice: Obj, params: Obj) -> Obj:
    if params.get("source"):
        customer = account.get("customer", invoice["customer"], param="customer")
        return sources.of_customer(account, customer, params["source"], param="source")
    wanted = params.get("payment_method")
    if not wanted:
        method = method_for(account, invoice)
        if method is None:
            raise invalid(
                "There is no default payment method set on this Customer, their Subscription or "
                "Invoice. Please provide a payment method.",
                code="resource_missing",
            )
        return method
    if payment_methods.is_test_name(wanted):
        method = payment_methods.from_name(account, wanted)
        method["customer"] = invoice["customer"]
        return method
    method = account.get("payment_method", wanted, param="payment_method")
    if method["customer"] != invoice["customer"]:
        raise invalid(
            f"The customer does not have a payment method with the ID {wanted}. The payment "
            "method must be attached to the customer.",
            code="resource_missing",
            param="payment_method",
        )
    return method


def _declined(account: Account, result: Result) -> Refused:
    needs_customer = result.verdict.outcome == "requires_action"
    code = "invoice_payment_intent_requires_action" if needs_customer else None
    return charging.declined(account, result, code=code)


# of a finalized invoice these stand fast
_FROZEN = {"collection_method", "custom_fields", "number", "days_until_due", "due_date"}


def update(account: Account, invoice: Obj, params: Obj) -> Obj:
    """`POST /v1/invoices/{id}`."""
    account.refuse_while_advancing(invoice)
    if invoice["status"] not in ("draft", "open") and set(params) - {"metadata"}:
        raise invalid(
            f"Finalized invoices can't be updated in this way; its status is {invoice['status']}.",
            code="invoice_not_editable",
        )
    frozen = sorted(set(params) & _FROZEN)
    if invoice["status"] != "draft" and frozen:
        raise invalid(
            f"Finalized invoices can't be updated in this way: {', '.join(frozen)}.",
            code="invoice_not_editable",
            param=frozen[0],
        )
    before = _set_terms(account, invoice, params)
    before |= set_default_method(account, invoice, params)
    if "auto_advance" in params:
        before |= _set_auto_advance(account, invoice, on=bool(params["auto_advance"]))
    if before:
        account.emit("invoice.updated", invoice, before)
    return invoice


def _set_auto_advance(account: Account, invoice: Obj, *, on: bool) -> Obj:
    if invoice["auto_advance"] == on:
        return {}
    before = {
        "auto_advance": invoice["auto_advance"],
        "next_payment_attempt": invoice["next_payment_attempt"],
    }
    invoice["auto_advance"] = on
    if not on:
        invoice["next_payment_attempt"] = None
        invoice["automatically_finalizes_at"] = None
    elif invoice["status"] == "draft":
        plan_finalizing(account, invoice)
    elif invoice["attempt_count"] == 0:
        plan_first_attempt(account, invoice)
    elif not has_payment_under_way(account, invoice):
        # handed back after its slots have passed, it is tried once within the hour
        plan_retry(account, invoice, too_late=account.now_of(invoice) + HOUR)
    return before


def set_default_method(account: Account, thing: Obj, params: Obj) -> Obj:
    """`default_payment_method` and `default_source` of an invoice or subscription.

    They are the customer's own, or none. Answers what was there before.
    """
    before: Obj = {}
    if "default_payment_method" in params:
        wanted = params["default_payment_method"] or None
        if wanted and _named(account, wanted)["customer"] != thing["customer"]:
            raise invalid(
                f"The customer does not have a payment method with the ID {wanted}.",
                code="resource_missing",
                param="default_payment_method",
            )
        before |= account.change(thing, default_payment_method=wanted)
    if "default_source" in params:
        wanted = params["default_source"] or None
        if wanted:
            owner = account.get("customer", thing["customer"], param="customer")
            sources.of_customer(account, owner, wanted)
        before |= account.change(thing, default_source=wanted)
    return before


def _named(account: Account, wanted: str) -> Obj:
    return account.get("payment_method", wanted, param="default_payment_method")


def void(account: Account, invoice: Obj) -> Obj:
    """`POST /v1/invoices/{id}/void`: final."""
    account.refuse_while_advancing(invoice)
    if not collectable(invoice):
        raise invalid(f"You can only void open or uncollectible invoices, not {invoice['status']}.")
    _end(account, invoice, "void", "voided_at", "invoice.voided")
    _cancel_payments(account, invoice)
    return invoice


def send(account: Account, invoice: Obj) -> Obj:
    """`POST /v1/invoices/{id}/send`: as in test mode, an event and no mail."""
    account.refuse_while_advancing(invoice)
    _open_first(account, invoice)
    if invoice["status"] not in ("open", "uncollectible", "paid"):
        raise invalid(f"An invoice that is {invoice['status']} can't be sent.")
    account.emit("invoice.sent", invoice)
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
