"""Credit notes on open invoices: how a finalized invoice is made to ask for less."""

from typing import Any

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.accounts.fields import merged
from retry_engine.sandbox.billing.collection import collectable, mark_paid
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj

REASONS = ("duplicate", "fraudulent", "order_change", "product_unsatisfactory")
_PREVIEW = "cn_preview"


def create(account: Account, params: Obj) -> Obj:
    """`POST /v1/credit_notes` on an open invoice: lowers what remains, never below nothing.

    Stripe mails the customer unless `email_type` is `none`; the sandbox only keeps which it was.
    """
    invoice, amount = _asked(account, params)
    account.refuse_while_advancing(invoice)
    note = _note(account, invoice, amount, params, note_id=account.new_id("credit_note"))
    account.put("credit_note", note)
    account.hidden[note["id"]] = {"email_type": params.get("email_type") or "credit_note"}
    _lower(account, invoice, amount)
    account.emit("credit_note.created", note)
    return note


def preview(account: Account, params: Obj) -> Obj:
    """`GET /v1/credit_notes/preview`: the note as it would be; nothing is kept."""
    invoice, amount = _asked(account, params)
    return _note(account, invoice, amount, params, note_id=_PREVIEW)


def void(account: Account, note: Obj) -> Obj:
    """`POST /v1/credit_notes/{id}/void`: the invoice asks for it again."""
    invoice = account.tables["invoice"][note["invoice"]]
    account.refuse_while_advancing(invoice)
    if note["status"] == "void" or not collectable(invoice):
        raise invalid("This credit note can't be voided any more.")
    note.update(status="void", voided_at=account.now_of(invoice))
    _lower(account, invoice, -note["amount"])
    account.emit("credit_note.voided", note)
    return note


def _asked(account: Account, params: Obj) -> tuple[Obj, int]:
    if not params.get("invoice"):
        raise invalid("Missing required param: invoice.", param="invoice")
    invoice = account.get("invoice", params["invoice"], param="invoice")
    if not collectable(invoice):
        raise invalid("The sandbox makes credit notes for open invoices only.", param="invoice")
    if params.get("reason") not in (None, "", *REASONS):
        raise invalid(f"reason is one of {', '.join(REASONS)}.", param="reason")
    if params.get("email_type") not in (None, "", "credit_note", "none"):
        raise invalid("email_type is one of credit_note, none.", param="email_type")
    amount = _amount(account, invoice, params)
    if not 0 < amount <= invoice["amount_remaining"]:
        raise invalid("The amount must be positive and at most what remains.", param="amount")
    return invoice, amount


def _amount(account: Account, invoice: Obj, params: Obj) -> int:
    if not params.get("lines"):
        return int(params.get("amount") or 0)
    total: int = sum(line["amount"] for line in _lines(account, invoice, params["lines"]))
    if params.get("amount") not in (None, total):
        raise invalid("The sum of the lines is not the amount.", param="amount")
    return total


def _lines(account: Account, invoice: Obj, given: Any) -> list[Obj]:
    return [_line(account, invoice, entry, f"lines[{i}]") for i, entry in enumerate(given)]


def _line(account: Account, invoice: Obj, given: object, param: str) -> Obj:
    if not isinstance(given, dict):
        raise invalid(f"Invalid object: {param}", param=param)
    kind = given.get("type")
    quantity = int(given["quantity"]) if given.get("quantity") else None
    unit = int(given["unit_amount"]) if given.get("unit_amount") else None
    if kind == "invoice_line_item":
        known = {line["id"]: line for line in invoice["lines"]["data"]}
        line = known.get(given.get("invoice_line_item"))
        if line is None:
            raise invalid(
                f"No such invoice line: '{given.get('invoice_line_item')}'",
                code="resource_missing", param=f"{param}[invoice_line_item]",
            )  # fmt: skip
        amount = given.get("amount") or (line["amount"] if unit is None else None)
    elif kind == "custom_line_item":
        line, amount = None, None
    else:
        raise invalid("Invalid line type.", param=f"{param}[type]")
    whole = int(amount) if amount is not None else (unit or 0) * (quantity or 1)
    return objects.credit_note_line(
        id=account.new_id("credit_note_line_item"),
        kind=str(kind),
        amount=whole,
        quantity=quantity,
        unit_amount=unit,
        description=given.get("description") or (line or {}).get("description"),
        invoice_line=line["id"] if line else None,
    )


def update(account: Account, note: Obj, params: Obj) -> Obj:
    """`POST /v1/credit_notes/{id}`: memo and metadata."""
    before: Obj = {}
    if "memo" in params:
        before |= account.change(note, memo=params["memo"] or None)
    if "metadata" in params:
        before |= account.change(note, metadata=merged(note["metadata"], params["metadata"]))
    if before:
        account.emit("credit_note.updated", note, before)
    return note


def _note(account: Account, invoice: Obj, amount: int, params: Obj, *, note_id: str) -> Obj:
    count = len(account.of("credit_note", invoice["id"])) + 1
    note = objects.credit_note(
        id=note_id,
        created=account.now_of(invoice),
        invoice=invoice,
        amount=amount,
        number=f"{invoice['number']}-CN-{count:02d}",
    )
    note.update({n: params[n] for n in ("reason", "memo", "metadata") if n in params})
    note["lines"]["data"] = _lines(account, invoice, params.get("lines") or ())
    return note


def _lower(account: Account, invoice: Obj, amount: int) -> None:
    before = account.change(
        invoice,
        amount_due=invoice["amount_due"] - amount,
        amount_remaining=invoice["amount_remaining"] - amount,
        pre_payment_credit_notes_amount=invoice["pre_payment_credit_notes_amount"] + amount,
    )
    for payment in account.of("invoice_payment", invoice["id"]):
        intent = account.tables["payment_intent"][payment["payment"]["payment_intent"]]
        if intent["status"] not in ("processing", "succeeded", "canceled"):
            intent["amount"] = invoice["amount_remaining"]
    account.emit("invoice.updated", invoice, before)
    if invoice["amount_remaining"] == 0:
        mark_paid(account, invoice, 0)
