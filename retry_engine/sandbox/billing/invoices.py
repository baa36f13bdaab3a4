"""Invoices, as they are asked for, changed and paid by hand."""

from retry_engine.sandbox.accounts import fields
from retry_engine.sandbox.accounts.account import HOUR, Account
from retry_engine.sandbox.accounts.fields import merged
from retry_engine.sandbox.billing.collection import (
    collect,
    has_payment_under_way,
    mark_paid,
    method_for,
    plan_retry,
)
from retry_engine.sandbox.billing.default_methods import set_default_method
from retry_engine.sandbox.billing.invoicing import (
    add_item,
    ask_until,
    draft,
    finalize,
    plan_finalizing,
    plan_first_attempt,
)
from retry_engine.sandbox.errors import Refused, invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import charging, payment_methods, sources
from retry_engine.sandbox.payments.charging import Result


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
            add_item(account, invoice, item)
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


def finalize_by_hand(account: Account, invoice: Obj, params: Obj) -> Obj:
    """`POST /v1/invoices/{id}/finalize`; with auto_advance Stripe charges it an hour later."""
    account.refuse_while_advancing(invoice)
    if "auto_advance" in params:
        invoice["auto_advance"] = bool(params["auto_advance"])
    finalize(account, invoice)
    if invoice["status"] == "open" and invoice["auto_advance"]:
        plan_first_attempt(account, invoice)
    return invoice


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


def send(account: Account, invoice: Obj) -> Obj:
    """`POST /v1/invoices/{id}/send`: as in test mode, an event and no mail."""
    account.refuse_while_advancing(invoice)
    _open_first(account, invoice)
    if invoice["status"] not in ("open", "uncollectible", "paid"):
        raise invalid(f"An invoice that is {invoice['status']} can't be sent.")
    account.emit("invoice.sent", invoice)
    return invoice
