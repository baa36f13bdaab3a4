"""Invoice items: amounts that wait for an invoice, or are put on a draft."""

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.accounts.fields import merged, whole
from retry_engine.sandbox.billing import catalog, invoicing
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj


def create(account: Account, params: Obj) -> Obj:
    """`POST /v1/invoiceitems`."""
    customer = account.get("customer", params.get("customer") or "", param="customer")
    account.refuse_while_advancing(customer)
    price = _price_of(account, params)
    quantity = int(params.get("quantity") or 1)
    unit, currency = _unit(account, params, price)
    item = objects.invoice_item(
        id=account.new_id("invoiceitem"),
        created=account.now_of(customer),
        customer=customer["id"],
        amount=unit * quantity,
        currency=currency,
    )
    item.update(quantity=quantity, quantity_decimal=str(quantity))
    if price is not None:
        item["pricing"] = objects.pricing(price)
    item["test_clock"] = customer["test_clock"]
    _fill(account, item, params)
    account.put("invoiceitem", item)
    if params.get("invoice"):
        invoice = account.get("invoice", params["invoice"], param="invoice")
        if invoice["status"] != "draft":
            raise invalid("Only draft invoices take items.", code="invoice_not_editable")
        invoicing.add_item(account, invoice, item)
    account.emit("invoiceitem.created", item)
    return item


def _price_of(account: Account, params: Obj) -> Obj | None:
    wanted = (params.get("pricing") or {}).get("price")
    if wanted:
        return account.get("price", wanted, param="pricing[price]")
    if params.get("price_data"):
        return catalog.price_from_data(account, params["price_data"])
    return None


def _unit(account: Account, params: Obj, price: Obj | None) -> tuple[int, str]:
    if price is not None:
        return int(price["unit_amount"]), str(price["currency"])
    currency = str(params.get("currency") or account.terms.default_currency).lower()
    if params.get("amount") is not None and params.get("unit_amount_decimal"):
        raise invalid("You may only specify one of these: amount, unit_amount_decimal.")
    given = params.get("amount")
    if given is None:
        given = params.get("unit_amount_decimal") or 0
    if not str(given).lstrip("-").isdigit():
        raise invalid(f"Invalid integer: {given}", code="parameter_invalid_integer")
    return int(given), currency


def _fill(account: Account, item: Obj, params: Obj) -> Obj:
    before: Obj = {}
    if "description" in params:
        before |= account.change(item, description=params["description"] or None)
    if "discountable" in params:
        before |= account.change(item, discountable=params["discountable"])
    if params.get("period"):
        period = {
            edge: whole(params["period"].get(edge), f"period[{edge}]") for edge in ("start", "end")
        }
        before |= account.change(item, period=period)
    if "metadata" in params:
        before |= account.change(item, metadata=merged(item["metadata"], params["metadata"]))
    return before


def update(account: Account, item: Obj, params: Obj) -> Obj:
    """`POST /v1/invoiceitems/{id}`: one that is on no invoice yet."""
    _refuse_used(item)
    before = _fill(account, item, params)
    if "amount" in params:
        amount = int(params["amount"] or 0)
        before |= account.change(item, amount=amount, net_amount=amount)
    if "quantity" in params:
        quantity = int(params["quantity"] or 1)
        unit = item["amount"] // item["quantity"]
        before |= account.change(
            item, quantity=quantity, quantity_decimal=str(quantity), amount=unit * quantity,
            net_amount=unit * quantity,
        )  # fmt: skip
    if before:
        account.emit("invoiceitem.updated", item, before)
    return item


def delete(account: Account, item: Obj) -> Obj:
    """`DELETE /v1/invoiceitems/{id}`."""
    _refuse_used(item)
    del account.tables["invoiceitem"][item["id"]]
    account.emit("invoiceitem.deleted", item)
    return {"id": item["id"], "object": "invoiceitem", "deleted": True}


def _refuse_used(item: Obj) -> None:
    if item["invoice"]:
        raise invalid("This invoice item is on an invoice and can't be changed.")
