"""Invoices, what is on them, their payments and credit notes."""

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.api import lists
from retry_engine.sandbox.api.lists import list_of
from retry_engine.sandbox.api.route import Route, page_spec, retrieve, spec
from retry_engine.sandbox.billing import (
    collection,
    credit_notes,
    invoice_items,
    invoices,
    invoicing,
)
from retry_engine.sandbox.objects import Obj

_INVOICE_UPDATE = spec(
    auto_advance="flag", default_payment_method="text", default_source="text", description="text",
    footer="text", metadata="map", collection_method="text", days_until_due="number",
    due_date="number", custom_fields="list", statement_descriptor="text", shipping_details="map",
    number="text", payment_settings="map",
)  # fmt: skip


_ITEM = spec(
    amount="number", description="text", discountable="flag", metadata="map", quantity="number",
    unit_amount_decimal="text", period="map",
)  # fmt: skip


_CREDIT_NOTE = spec(
    invoice="text",
    amount="number",
    reason="text",
    memo="text",
    metadata="map",
    email_type="text",
    lines="list",
)


def _of_subscription(account: Account, invoice: Obj, wanted: str) -> bool:
    found = collection.subscription_of(account, invoice)
    return found is not None and found["id"] == wanted


def _of_payment(account: Account, payment: Obj, wanted: object) -> bool:
    if not isinstance(wanted, dict):
        return False
    kind, paid = wanted.get("type"), payment["payment"]
    return bool(paid["type"] == kind and paid.get(kind) == wanted.get(kind))


def _pending(account: Account, item: Obj, wanted: bool) -> bool:
    return wanted is (item["invoice"] is None)


ROUTES: tuple[Route, ...] = (
    Route(method="POST", pattern="/v1/invoiceitems",
          run=lambda c: invoice_items.create(c.account, c.params),
          spec={**_ITEM, "customer": "text", "currency": "text", "invoice": "text",
                "pricing": "map", "price_data": "map"}),
    Route(method="GET", pattern="/v1/invoiceitems", run=list_of("invoiceitem", pending=_pending),
          spec=page_spec(customer="text", invoice="text", created="range", pending="flag")),
    Route(method="GET", pattern="/v1/invoiceitems/*", run=retrieve("invoiceitem"), spec=spec()),
    Route(method="POST", pattern="/v1/invoiceitems/*",
          run=lambda c: invoice_items.update(c.account, c.thing("invoiceitem"), c.params),
          spec=_ITEM),
    Route(method="DELETE", pattern="/v1/invoiceitems/*",
          run=lambda c: invoice_items.delete(c.account, c.thing("invoiceitem"))),
    Route(method="POST", pattern="/v1/invoices",
          run=lambda c: invoices.create(c.account, c.params),
          spec={**_INVOICE_UPDATE, "customer": "text", "currency": "text",
                "collection_method": "text", "pending_invoice_items_behavior": "text"}),
    Route(method="GET", pattern="/v1/invoices",
          run=list_of("invoice", subscription=_of_subscription),
          spec=page_spec(customer="text", status="text", subscription="text", created="range",
                         collection_method="text")),
    Route(method="GET", pattern="/v1/invoices/*", run=retrieve("invoice"), spec=spec()),
    Route(method="GET", pattern="/v1/invoices/*/lines",
          run=lambda c: lists.page(c.thing("invoice")["lines"]["data"], c.params, c.path),
          spec=page_spec()),
    Route(method="DELETE", pattern="/v1/invoices/*", locks=True,
          run=lambda c: invoices.delete(c.account, c.thing("invoice"))),
    Route(method="POST", pattern="/v1/invoices/*", locks=True,
          run=lambda c: invoices.update(c.account, c.thing("invoice"), c.params),
          spec=_INVOICE_UPDATE),
    Route(method="POST", pattern="/v1/invoices/*/finalize", locks=True,
          run=lambda c: invoices.finalize_by_hand(c.account, c.thing("invoice"), c.params),
          spec=spec(auto_advance="flag")),
    Route(method="POST", pattern="/v1/invoices/*/pay", locks=True,
          run=lambda c: invoices.pay(c.account, c.thing("invoice"), c.params),
          spec=spec(payment_method="text", off_session="flag", paid_out_of_band="flag",
                    mandate="text", forgive="flag", source="text")),
    Route(method="POST", pattern="/v1/invoices/*/void", locks=True,
          run=lambda c: invoicing.void(c.account, c.thing("invoice")), spec=spec()),
    Route(method="POST", pattern="/v1/invoices/*/send", locks=True,
          run=lambda c: invoices.send(c.account, c.thing("invoice")), spec=spec()),
    Route(method="POST", pattern="/v1/invoices/*/mark_uncollectible", locks=True,
          run=lambda c: invoicing.mark_uncollectible(c.account, c.thing("invoice")),
          spec=spec()),
    Route(method="GET", pattern="/v1/invoice_payments",
          run=list_of("invoice_payment", payment=_of_payment),
          spec=page_spec(invoice="text", payment="map", status="text", created="range")),
    Route(method="GET", pattern="/v1/invoice_payments/*", run=retrieve("invoice_payment"),
          spec=spec()),
    Route(method="POST", pattern="/v1/credit_notes",
          run=lambda c: credit_notes.create(c.account, c.params),
          spec=_CREDIT_NOTE),
    Route(method="GET", pattern="/v1/credit_notes/preview",
          run=lambda c: credit_notes.preview(c.account, c.params), spec=_CREDIT_NOTE),
    Route(method="GET", pattern="/v1/credit_notes", run=list_of("credit_note"),
          spec=page_spec(invoice="text", customer="text", created="range")),
    Route(method="GET", pattern="/v1/credit_notes/*", run=retrieve("credit_note"),
          spec=spec()),
    Route(method="GET", pattern="/v1/credit_notes/*/lines",
          run=lambda c: lists.page(c.thing("credit_note")["lines"]["data"], c.params, c.path),
          spec=page_spec()),
    Route(method="POST", pattern="/v1/credit_notes/*",
          run=lambda c: credit_notes.update(c.account, c.thing("credit_note"), c.params),
          spec=spec(memo="text", metadata="map")),
    Route(method="POST", pattern="/v1/credit_notes/*/void", locks=True,
          run=lambda c: credit_notes.void(c.account, c.thing("credit_note")), spec=spec()),
)  # fmt: skip
