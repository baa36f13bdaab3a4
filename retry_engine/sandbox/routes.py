"""The API's routes: path, parameters, and the operation behind them. No HTTP here."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from retry_engine.sandbox import (
    cash,
    catalogue,
    charges,
    clocks,
    collecting,
    confirming,
    crediting,
    customers,
    discounting,
    intents,
    invoicing,
    items,
    methods,
    objects,
    reversals,
    sessions,
    sigma,
    sources,
    subscribing,
    wire,
)
from retry_engine.sandbox.account import Account
from retry_engine.sandbox.refusals import Obj, invalid
from retry_engine.sandbox.wire import Kind, Spec


@dataclass(frozen=True, slots=True)
class Call:
    """One request, understood."""

    account: Account
    params: Obj
    ids: tuple[str, ...] = ()
    path: str = ""
    # a page's own call, with a publishable key: it may do what the intent's secret allows
    public: bool = False
    secret: str | None = None

    def thing(self, table: str) -> Obj:
        """The object that the path names."""
        return self.account.get(table, self.ids[0])


Operation = Callable[[Call], Obj]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`pattern` has `*` for ids. `locks`: while it runs nobody else may touch the object.

    `older`: parameters of earlier API versions, which Stripe's own examples still send.
    `is_file`: the answer is not JSON but the `contents` of what it returns. `takes_publishable`:
    Stripe.js calls it from a customer's page.
    """

    method: str
    pattern: str
    run: Operation
    spec: Spec = field(default_factory=dict)
    older: Spec = field(default_factory=dict)
    locks: bool = False
    is_file: bool = False
    takes_publishable: bool = False

    @property
    def resource(self) -> str:
        """What a restricted key's permission is named after."""
        steps = self.pattern.split("/")
        grouped = ("test_helpers", "radar", "sigma", "billing_portal")
        return steps[3] if steps[2] in grouped else steps[2]


_PAGE: dict[str, Kind] = {"limit": "number", "starting_after": "text", "ending_before": "text"}


def _spec(**kinds: Kind) -> Spec:
    return {**kinds, "expand": "list"}


def _page_spec(**kinds: Kind) -> Spec:
    return {**_PAGE, **kinds, "expand": "list"}


# -- reading


def _retrieve(table: str) -> Operation:
    return lambda call: call.thing(table)


def _list(table: str, **special: Callable[[Account, Obj, Any], bool]) -> Operation:
    """A list, newest first, filtered by each given parameter."""

    def run(call: Call) -> Obj:
        filters = {k: v for k, v in call.params.items() if k not in _PAGE and k != "expand"}
        rows = _candidates(call.account, table, filters)
        kept = [
            row
            for row in rows
            if all(
                _fits(call.account, row, name, value, special) for name, value in filters.items()
            )
        ]
        return wire.page(kept, call.params, call.path)

    return run


def _candidates(account: Account, table: str, filters: Obj) -> list[Obj]:
    """All rows that can match; far fewer where a filter names their owner."""
    for name in ("invoice", "payment_intent", "customer"):
        if isinstance(filters.get(name), str):
            return account.newest_first(table, filters[name])
    return account.newest_first(table)


def _fits(
    account: Account, row: Obj, name: str, value: Any,
    special: Mapping[str, Callable[[Account, Obj, Any], bool]],
) -> bool:  # fmt: skip
    if name in special:
        return special[name](account, row, value)
    if name == "created":
        return wire.within(row["created"], value)
    return bool(row.get(name) == value)


def _of_subscription(account: Account, invoice: Obj, wanted: str) -> bool:
    found = collecting.subscription_of(account, invoice)
    return found is not None and found["id"] == wanted


def _of_payment(account: Account, payment: Obj, wanted: Any) -> bool:
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    return bool(
        payment["payment"]["type"] == kind and payment["payment"].get(kind) == wanted.get(kind)
    )


def _with_price(account: Account, subscription: Obj, wanted: str) -> bool:
    return any(item["price"]["id"] == wanted for item in subscription["items"]["data"])


# no status of Stripe's: whatever has not been canceled
_ALIVE = "alive"


def _with_status(account: Account, subscription: Obj, wanted: str) -> bool:
    if wanted == "all":
        return True
    if wanted == _ALIVE:
        return bool(subscription["status"] != "canceled")
    if wanted == "ended":
        return subscription["status"] in ("canceled", "incomplete_expired")
    return bool(subscription["status"] == wanted)


def _delivered(account: Account, event: Obj, wanted: bool) -> bool:
    lost = account.hidden.get(event["id"], {}).get("undelivered", False)
    return wanted is not bool(lost or event["pending_webhooks"])


def _has_key(account: Account, price: Obj, wanted: list[str]) -> bool:
    return price["lookup_key"] in wanted


def _pending(account: Account, item: Obj, wanted: bool) -> bool:
    return wanted is (item["invoice"] is None)


def _types(account: Account, event: Obj, wanted: list[str]) -> bool:
    return event["type"] in wanted


def _one_type(account: Account, event: Obj, wanted: str) -> bool:
    if wanted.endswith(".*"):
        return bool(event["type"].startswith(wanted[:-1]))
    return bool(event["type"] == wanted)


def _list_subscriptions(call: Call) -> Obj:
    # unless asked for, Stripe leaves out those that are canceled
    asked = call.params if "status" in call.params else {**call.params, "status": _ALIVE}
    run = _list("subscription", status=_with_status, price=_with_price)
    return run(replace(call, params=asked))


def _customers_methods(call: Call) -> Obj:
    customer = call.thing("customer")
    params = {**call.params, "customer": customer["id"]}
    return _list("payment_method")(Call(call.account, params, call.ids, call.path))


def _customers_method(call: Call) -> Obj:
    method = call.account.get("payment_method", call.ids[1])
    if method["customer"] != call.ids[0]:
        raise invalid("The customer does not have this payment method.", code="resource_missing")
    return method


def _account(call: Call) -> Obj:
    account = call.account
    return objects.account(
        id=account.id,
        created=account.real_now(),
        country=account.terms.country,
        currency=account.terms.default_currency,
    )


# -- customers


_CUSTOMER = _spec(
    name="text", email="text", phone="text", description="text", metadata="map", address="map",
    shipping="map", invoice_settings="map", payment_method="text", test_clock="text",
    preferred_locales="list", tax_exempt="text", balance="number", invoice_prefix="text",
    next_invoice_sequence="number", source="any", validate="flag",
)  # fmt: skip


_CUSTOMER_UPDATE = {
    **{n: k for n, k in _CUSTOMER.items() if n not in ("payment_method", "test_clock")},
    "default_source": "text",
}  # fmt: skip
_SOURCE_UPDATE = _spec(
    name="text", exp_month="text", exp_year="text", address_city="text", address_country="text",
    address_line1="text", address_line2="text", address_state="text", address_zip="text",
    metadata="map",
)  # fmt: skip


# -- the catalogue, endpoints, clocks


def _drop_discount(call: Call) -> Obj:
    customer = call.thing("customer")
    held = customer["discount"]
    if held is None:
        raise invalid("No active discount.", code="resource_missing", status=404)
    discounting.set_on_customer(call.account, customer, None)
    return {"id": held["id"], "object": "discount", "deleted": True}


def _create_endpoint(call: Call) -> Obj:
    return endpoint(call.account, call.params)


def endpoint(account: Account, params: Obj, *, secret: str | None = None) -> Obj:
    """A webhook endpoint. Its secret is shown this once."""
    if not params.get("url") or not params.get("enabled_events"):
        raise invalid("Missing required param: url or enabled_events.", param="url")
    made = objects.webhook_endpoint(
        id=account.new_id("webhook_endpoint"),
        created=account.real_now(),
        url=params["url"],
        events=list(params["enabled_events"]),
        version=params.get("api_version"),
    )
    made.update({n: params[n] for n in ("description", "metadata") if n in params})
    secret = secret or "whsec_" + "".join(account.rng.choices("abcdefghijkmnpqrstuvwxyz", k=32))
    account.hidden[made["id"]] = {"secret": secret, "connect": bool(params.get("connect"))}
    account.put("webhook_endpoint", made)
    return {**made, "secret": secret}


def _update_endpoint(call: Call) -> Obj:
    made = call.thing("webhook_endpoint")
    for name in ("url", "enabled_events", "description", "metadata"):
        if name in call.params:
            made[name] = call.params[name]
    if "disabled" in call.params:
        made["status"] = "disabled" if call.params["disabled"] else "enabled"
    return made


def _delete_endpoint(call: Call) -> Obj:
    made = call.thing("webhook_endpoint")
    del call.account.tables["webhook_endpoint"][made["id"]]
    return {"id": made["id"], "object": "webhook_endpoint", "deleted": True}


def _advance(call: Call) -> Obj:
    """Sets out only; the door plays what is due in the background."""
    clock = call.thing("test_helpers.test_clock")
    if "frozen_time" not in call.params:
        raise invalid("Missing required param: frozen_time.", param="frozen_time")
    clocks.begin_advancing(call.account, clock, call.params["frozen_time"])
    return clock


# -- the rest, one line each

_INVOICE_UPDATE = _spec(
    auto_advance="flag", default_payment_method="text", default_source="text", description="text",
    footer="text", metadata="map", collection_method="text", days_until_due="number",
    due_date="number", custom_fields="list", statement_descriptor="text", shipping_details="map",
    number="text", payment_settings="map",
)  # fmt: skip
_SUBSCRIPTION = _spec(
    default_payment_method="text", default_source="text", description="text", metadata="map",
    cancel_at_period_end="flag", collection_method="text", days_until_due="number",
    pause_collection="any", payment_settings="map", proration_behavior="text",
    payment_behavior="text", off_session="flag", trial_end="any", discounts="list",
    billing_cycle_anchor="text", cancellation_details="map", cancel_at="any",
    trial_settings="map", trial_from_plan="flag", invoice_settings="map", items="list",
)  # fmt: skip
_SUBSCRIPTION_CREATE = {
    n: k for n, k in _SUBSCRIPTION.items() if n not in ("pause_collection", "cancellation_details")
}
_PRODUCT = _spec(
    name="text", description="text", metadata="map", active="flag", images="list",
    shippable="flag", statement_descriptor="text", tax_code="text", unit_label="text", url="text",
    package_dimensions="map", marketing_features="list",
)  # fmt: skip
_PRICE = _spec(
    currency="text", unit_amount="number", unit_amount_decimal="text", recurring="map",
    product="text", product_data="map", nickname="text", metadata="map", lookup_key="text",
    active="flag", tax_behavior="text",
)  # fmt: skip
_TAX_RATE = _spec(
    display_name="text", description="text", active="flag", country="text", state="text",
    jurisdiction="text", tax_type="text", metadata="map",
)  # fmt: skip
_ITEM = _spec(
    amount="number", description="text", discountable="flag", metadata="map", quantity="number",
    unit_amount_decimal="text", period="map",
)  # fmt: skip
_CHARGE = _spec(
    description="text", metadata="map", receipt_email="text", shipping="map", transfer_group="text",
)  # fmt: skip
# what `allowed_payment_method_types` was called
_TYPES: Spec = {"payment_method_types": "list"}
_INTENT_CONFIRM = _spec(
    payment_method="text",
    payment_method_data="map",
    return_url="text",
    off_session="any",
    use_stripe_sdk="flag",
    mandate_data="map",
    setup_future_usage="text",
    error_on_requires_action="flag",
    payment_method_options="map",
    receipt_email="text",
    shipping="map",
    capture_method="text",
    allowed_payment_method_types="list",
)
_INTENT_UPDATE = _spec(
    amount="number",
    currency="text",
    customer="text",
    description="text",
    metadata="map",
    payment_method="text",
    payment_method_data="map",
    payment_method_options="map",
    allowed_payment_method_types="list",
    receipt_email="text",
    setup_future_usage="text",
    shipping="map",
    statement_descriptor="text",
    statement_descriptor_suffix="text",
    transfer_group="text",
    capture_method="text",
    excluded_payment_method_types="list",
)
_INTENT: Spec = {
    **_INTENT_UPDATE, **_INTENT_CONFIRM, "confirm": "flag", "confirmation_method": "text",
    "automatic_payment_methods": "map",
}  # fmt: skip
_CREDIT_NOTE = _spec(
    invoice="text",
    amount="number",
    reason="text",
    memo="text",
    metadata="map",
    email_type="text",
    lines="list",
)


def _of_coupon(account: Account, code: Obj, wanted: str) -> bool:
    return bool(code["promotion"]["coupon"] == wanted)


def _with_secret(table: str) -> Operation:
    """Retrieving an intent: whole with a secret key, in part for a page that knows its secret."""

    def run(call: Call) -> Obj:
        intent = call.thing(table)
        if not call.public:
            return intent
        return confirming.publicly(confirming.with_secret(intent, call.secret))

    return run


def _confirm(call: Call) -> Obj:
    intent = call.thing("payment_intent")
    if not call.public:
        return confirming.confirm(call.account, intent, call.params, source="api")
    confirming.with_secret(intent, call.secret)
    done = confirming.confirm(call.account, intent, call.params, source="customer")
    return confirming.publicly(done)


def _confirm_setup(call: Call) -> Obj:
    intent = call.thing("setup_intent")
    if not call.public:
        return confirming.confirm_setup(call.account, intent, call.params)
    confirming.with_secret(intent, call.secret)
    return confirming.publicly(confirming.confirm_setup(call.account, intent, call.params))


ROUTES: tuple[Route, ...] = (
    Route(method="GET", pattern="/v1/account", run=_account, spec=_spec()),
    Route(method="POST", pattern="/v1/customers",
          run=lambda c: customers.create(c.account, c.params), spec=_CUSTOMER,
          older={"coupon": "text"}),
    Route(method="GET", pattern="/v1/customers",
          run=lambda c: customers.listed(c.account, c.params, c.path),
          spec=_page_spec(email="text", created="range", test_clock="text")),
    Route(method="GET", pattern="/v1/customers/*",
          run=lambda c: customers.retrieve(c.account, c.ids[0]), spec=_spec()),
    Route(method="POST", pattern="/v1/customers/*",
          run=lambda c: customers.update(c.account, c.thing("customer"), c.params),
          spec=_CUSTOMER_UPDATE, older={"coupon": "text"}),
    Route(method="DELETE", pattern="/v1/customers/*/discount",
          run=_drop_discount),
    Route(method="DELETE", pattern="/v1/customers/*",
          run=lambda c: customers.delete(c.account, c.thing("customer"))),
    Route(method="POST", pattern="/v1/customers/*/sources",
          run=lambda c: sources.create(
              c.account, c.thing("customer"), c.params.get("source"), c.params.get("metadata")),
          spec=_spec(source="any", metadata="map", validate="flag")),
    Route(method="GET", pattern="/v1/customers/*/sources",
          run=lambda c: customers.shown_sources(
              c.account, c.thing("customer"), c.params, c.path),
          spec=_page_spec(object="text")),
    Route(method="GET", pattern="/v1/customers/*/sources/*",
          run=lambda c: sources.card_of(
              sources.retrieve(c.account, c.thing("customer"), c.ids[1])), spec=_spec()),
    Route(method="POST", pattern="/v1/customers/*/sources/*",
          run=lambda c: sources.update(c.account, c.thing("customer"), c.ids[1], c.params),
          spec=_SOURCE_UPDATE),
    Route(method="DELETE", pattern="/v1/customers/*/sources/*",
          run=lambda c: sources.delete(c.account, c.thing("customer"), c.ids[1])),
    Route(method="GET", pattern="/v1/customers/*/payment_methods", run=_customers_methods,
          spec=_page_spec(type="text")),
    Route(method="GET", pattern="/v1/customers/*/payment_methods/*", run=_customers_method,
          spec=_spec()),
    Route(method="POST", pattern="/v1/payment_methods", takes_publishable=True,
          run=lambda c: methods.create(c.account, c.params),
          spec=_spec(type="text", card="map", sepa_debit="map", us_bank_account="map",
                     bacs_debit="map", billing_details="map", metadata="map",
                     allow_redisplay="text")),
    Route(method="GET", pattern="/v1/payment_methods", run=_list("payment_method"),
          spec=_page_spec(customer="text", type="text")),
    Route(method="GET", pattern="/v1/payment_methods/*", run=_retrieve("payment_method"),
          spec=_spec()),
    Route(method="POST", pattern="/v1/payment_methods/*",
          run=lambda c: methods.update(c.account, c.thing("payment_method"), c.params),
          spec=_spec(card="map", billing_details="map", metadata="map",
                     allow_redisplay="text")),
    Route(method="POST", pattern="/v1/payment_methods/*/attach",
          run=lambda c: methods.attach(c.account, c.ids[0], c.params.get("customer") or ""),
          spec=_spec(customer="text")),
    Route(method="POST", pattern="/v1/payment_methods/*/detach",
          run=lambda c: methods.detach(c.account, c.thing("payment_method")), spec=_spec()),
    Route(method="POST", pattern="/v1/products",
          run=lambda c: catalogue.create_product(c.account, c.params),
          spec={**_PRODUCT, "id": "text", "default_price_data": "map"}),
    Route(method="GET", pattern="/v1/products", run=_list("product"),
          spec=_page_spec(created="range", active="flag", url="text", shippable="flag")),
    Route(method="GET", pattern="/v1/products/*", run=_retrieve("product"), spec=_spec()),
    Route(method="POST", pattern="/v1/products/*",
          run=lambda c: catalogue.update_product(c.account, c.thing("product"), c.params),
          spec={**_PRODUCT, "default_price": "text"}),
    Route(method="DELETE", pattern="/v1/products/*",
          run=lambda c: catalogue.delete_product(c.account, c.thing("product"))),
    Route(method="POST", pattern="/v1/prices",
          run=lambda c: catalogue.create_price(c.account, c.params), spec=_PRICE),
    Route(method="GET", pattern="/v1/prices", run=_list("price", lookup_keys=_has_key),
          spec=_page_spec(product="text", active="flag", currency="text", created="range",
                          type="text", lookup_keys="list")),
    Route(method="GET", pattern="/v1/prices/*", run=_retrieve("price"), spec=_spec()),
    Route(method="POST", pattern="/v1/prices/*",
          run=lambda c: catalogue.update_price(c.account, c.thing("price"), c.params),
          spec=_spec(nickname="text", metadata="map", active="flag", lookup_key="text",
                     tax_behavior="text")),
    Route(method="POST", pattern="/v1/plans",
          run=lambda c: catalogue.create_plan(c.account, c.params),
          spec=_spec(currency="text", interval="text", interval_count="number", amount="number",
                     product="any", nickname="text", metadata="map")),
    Route(method="GET", pattern="/v1/plans",
          run=lambda c: wire.page(catalogue.plans(c.account), c.params, c.path),
          spec=_page_spec()),
    Route(method="GET", pattern="/v1/plans/*",
          run=lambda c: catalogue.retrieve_plan(c.account, c.ids[0]), spec=_spec()),
    Route(method="POST", pattern="/v1/plans/*",
          run=lambda c: catalogue.update_plan(c.account, c.ids[0], c.params),
          spec=_spec(nickname="text", metadata="map", active="flag")),
    Route(method="DELETE", pattern="/v1/plans/*",
          run=lambda c: catalogue.delete_plan(c.account, c.ids[0])),
    Route(method="POST", pattern="/v1/tax_rates",
          run=lambda c: catalogue.create_tax_rate(c.account, c.params),
          spec={**_TAX_RATE, "inclusive": "flag", "percentage": "share"}),
    Route(method="GET", pattern="/v1/tax_rates", run=_list("tax_rate"),
          spec=_page_spec(active="flag", created="range", inclusive="flag")),
    Route(method="GET", pattern="/v1/tax_rates/*", run=_retrieve("tax_rate"), spec=_spec()),
    Route(method="POST", pattern="/v1/tax_rates/*",
          run=lambda c: catalogue.update_tax_rate(c.account, c.thing("tax_rate"), c.params),
          spec=_TAX_RATE),
    Route(method="POST", pattern="/v1/subscriptions",
          run=lambda c: subscribing.create(c.account, c.params),
          spec={**_SUBSCRIPTION_CREATE, "customer": "text", "currency": "text",
                "billing_cycle_anchor": "number", "trial_period_days": "number"}),
    Route(method="GET", pattern="/v1/subscriptions", run=_list_subscriptions,
          spec=_page_spec(customer="text", status="text", price="text", created="range",
                          collection_method="text", test_clock="text")),
    Route(method="GET", pattern="/v1/subscriptions/*", run=_retrieve("subscription"),
          spec=_spec()),
    Route(method="POST", pattern="/v1/subscriptions/*",
          run=lambda c: subscribing.update(c.account, c.thing("subscription"), c.params),
          spec=_SUBSCRIPTION),
    Route(method="DELETE", pattern="/v1/subscriptions/*",
          run=lambda c: subscribing.cancel(c.account, c.thing("subscription"), c.params),
          spec=_spec(cancellation_details="map", invoice_now="flag", prorate="flag")),
    Route(method="POST", pattern="/v1/subscriptions/*/pause",
          run=lambda c: subscribing.pause(c.account, c.thing("subscription")),
          spec=_spec(type="text", bill_for="map", invoicing_behavior="text")),
    Route(method="POST", pattern="/v1/subscriptions/*/resume",
          run=lambda c: subscribing.resume(c.account, c.thing("subscription")),
          spec=_spec(billing_cycle_anchor="text", proration_behavior="text")),
    Route(method="POST", pattern="/v1/invoiceitems",
          run=lambda c: items.create(c.account, c.params),
          spec={**_ITEM, "customer": "text", "currency": "text", "invoice": "text",
                "pricing": "map", "price_data": "map"}),
    Route(method="GET", pattern="/v1/invoiceitems", run=_list("invoiceitem", pending=_pending),
          spec=_page_spec(customer="text", invoice="text", created="range", pending="flag")),
    Route(method="GET", pattern="/v1/invoiceitems/*", run=_retrieve("invoiceitem"), spec=_spec()),
    Route(method="POST", pattern="/v1/invoiceitems/*",
          run=lambda c: items.update(c.account, c.thing("invoiceitem"), c.params), spec=_ITEM),
    Route(method="DELETE", pattern="/v1/invoiceitems/*",
          run=lambda c: items.delete(c.account, c.thing("invoiceitem"))),
    Route(method="POST", pattern="/v1/invoices",
          run=lambda c: invoicing.create(c.account, c.params),
          spec={**_INVOICE_UPDATE, "customer": "text", "currency": "text",
                "collection_method": "text", "pending_invoice_items_behavior": "text"}),
    Route(method="GET", pattern="/v1/invoices",
          run=_list("invoice", subscription=_of_subscription),
          spec=_page_spec(customer="text", status="text", subscription="text", created="range",
                          collection_method="text")),
    Route(method="GET", pattern="/v1/invoices/*", run=_retrieve("invoice"), spec=_spec()),
    Route(method="GET", pattern="/v1/invoices/*/lines",
          run=lambda c: wire.page(c.thing("invoice")["lines"]["data"], c.params, c.path),
          spec=_page_spec()),
    Route(method="DELETE", pattern="/v1/invoices/*", locks=True,
          run=lambda c: invoicing.delete(c.account, c.thing("invoice"))),
    Route(method="POST", pattern="/v1/invoices/*", locks=True,
          run=lambda c: invoicing.update(c.account, c.thing("invoice"), c.params),
          spec=_INVOICE_UPDATE),
    Route(method="POST", pattern="/v1/invoices/*/finalize", locks=True,
          run=lambda c: invoicing.finalize_by_hand(c.account, c.thing("invoice"), c.params),
          spec=_spec(auto_advance="flag")),
    Route(method="POST", pattern="/v1/invoices/*/pay", locks=True,
          run=lambda c: invoicing.pay(c.account, c.thing("invoice"), c.params),
          spec=_spec(payment_method="text", off_session="flag", paid_out_of_band="flag",
                     mandate="text", forgive="flag", source="text")),
    Route(method="POST", pattern="/v1/invoices/*/void", locks=True,
          run=lambda c: invoicing.void(c.account, c.thing("invoice")), spec=_spec()),
    Route(method="POST", pattern="/v1/invoices/*/send", locks=True,
          run=lambda c: invoicing.send(c.account, c.thing("invoice")), spec=_spec()),
    Route(method="POST", pattern="/v1/invoices/*/mark_uncollectible", locks=True,
          run=lambda c: invoicing.mark_uncollectible(c.account, c.thing("invoice")),
          spec=_spec()),
    Route(method="GET", pattern="/v1/invoice_payments",
          run=_list("invoice_payment", payment=_of_payment),
          spec=_page_spec(invoice="text", payment="map", status="text", created="range")),
    Route(method="GET", pattern="/v1/invoice_payments/*", run=_retrieve("invoice_payment"),
          spec=_spec()),
    Route(method="POST", pattern="/v1/payment_intents",
          run=lambda c: intents.create(c.account, c.params), spec=_INTENT, older=_TYPES),
    Route(method="POST", pattern="/v1/payment_intents/*",
          run=lambda c: intents.update(c.account, c.thing("payment_intent"), c.params),
          spec=_INTENT_UPDATE, older=_TYPES),
    Route(method="POST", pattern="/v1/payment_intents/*/capture",
          run=lambda c: intents.capture(c.account, c.thing("payment_intent"), c.params),
          spec=_spec(amount_to_capture="number", metadata="map")),
    Route(method="POST", pattern="/v1/payment_intents/*/cancel",
          run=lambda c: intents.cancel(c.account, c.thing("payment_intent"), c.params),
          spec=_spec(cancellation_reason="text")),
    Route(method="GET", pattern="/v1/payment_intents", run=_list("payment_intent"),
          spec=_page_spec(customer="text", created="range")),
    Route(method="GET", pattern="/v1/payment_intents/*", takes_publishable=True,
          run=_with_secret("payment_intent"), spec={"client_secret": "text", "expand": "list"}),
    Route(method="POST", pattern="/v1/charges",
          run=lambda c: charges.create(c.account, c.params),
          spec={**_CHARGE, "amount": "number", "currency": "text", "customer": "text",
                "source": "any", "capture": "flag", "statement_descriptor": "text",
                "statement_descriptor_suffix": "text"}),
    Route(method="POST", pattern="/v1/charges/*",
          run=lambda c: charges.update(c.account, c.thing("charge"), c.params),
          spec={**_CHARGE, "customer": "text", "fraud_details": "map"}),
    Route(method="POST", pattern="/v1/charges/*/capture", locks=True,
          run=lambda c: charges.capture(c.account, c.thing("charge"), c.params),
          spec=_spec(amount="number", receipt_email="text", statement_descriptor="text",
                     statement_descriptor_suffix="text")),
    Route(method="POST", pattern="/v1/tokens", takes_publishable=True,
          run=lambda c: charges.token(c.account, c.params), spec=_spec(card="map")),
    Route(method="GET", pattern="/v1/tokens/*", run=_retrieve("token"), spec=_spec()),
    Route(method="GET", pattern="/v1/charges", run=_list("charge"),
          spec=_page_spec(customer="text", payment_intent="text", created="range")),
    Route(method="GET", pattern="/v1/charges/*", run=_retrieve("charge"), spec=_spec()),
    Route(method="GET", pattern="/v1/events",
          run=_list("event", types=_types, type=_one_type, delivery_success=_delivered),
          spec=_page_spec(type="text", types="list", created="range", delivery_success="flag")),
    Route(method="GET", pattern="/v1/events/*", run=_retrieve("event"), spec=_spec()),
    Route(method="POST", pattern="/v1/test_helpers/customers/*/fund_cash_balance",
          run=lambda c: cash.fund(c.account, c.thing("customer"), c.params),
          spec=_spec(amount="number", currency="text", reference="text")),
    Route(method="GET", pattern="/v1/customers/*/cash_balance",
          run=lambda c: cash.balance(c.account, c.thing("customer")), spec=_spec()),
    Route(method="POST", pattern="/v1/test_helpers/test_clocks",
          run=lambda c: clocks.create(c.account, c.params),
          spec=_spec(frozen_time="number", name="text")),
    Route(method="GET", pattern="/v1/test_helpers/test_clocks",
          run=_list("test_helpers.test_clock"), spec=_page_spec()),
    Route(method="GET", pattern="/v1/test_helpers/test_clocks/*",
          run=_retrieve("test_helpers.test_clock"), spec=_spec()),
    Route(method="POST", pattern="/v1/test_helpers/test_clocks/*/advance", run=_advance,
          spec=_spec(frozen_time="number")),
    Route(method="DELETE", pattern="/v1/test_helpers/test_clocks/*",
          run=lambda c: clocks.delete(c.account, c.thing("test_helpers.test_clock"))),
    Route(method="POST", pattern="/v1/webhook_endpoints", run=_create_endpoint,
          spec=_spec(url="text", enabled_events="list", api_version="text", connect="flag",
                     description="text", metadata="map")),
    Route(method="GET", pattern="/v1/webhook_endpoints", run=_list("webhook_endpoint"),
          spec=_page_spec()),
    Route(method="GET", pattern="/v1/webhook_endpoints/*", run=_retrieve("webhook_endpoint"),
          spec=_spec()),
    Route(method="POST", pattern="/v1/webhook_endpoints/*", run=_update_endpoint,
          spec=_spec(url="text", enabled_events="list", disabled="flag", description="text",
                     metadata="map")),
    Route(method="DELETE", pattern="/v1/webhook_endpoints/*", run=_delete_endpoint),
    Route(method="GET", pattern="/v1/disputes", run=_list("dispute"),
          spec=_page_spec(charge="text", payment_intent="text", created="range")),
    Route(method="GET", pattern="/v1/disputes/*", run=_retrieve("dispute"), spec=_spec()),
    Route(method="POST", pattern="/v1/disputes/*",
          run=lambda c: reversals.update_dispute(c.account, c.thing("dispute"), c.params),
          spec=_spec(evidence="map", metadata="map", submit="flag")),
    Route(method="POST", pattern="/v1/disputes/*/close",
          run=lambda c: reversals.close_dispute(c.account, c.thing("dispute")), spec=_spec()),
    Route(method="GET", pattern="/v1/radar/early_fraud_warnings",
          run=_list("radar.early_fraud_warning"),
          spec=_page_spec(charge="text", payment_intent="text", created="range")),
    Route(method="GET", pattern="/v1/radar/early_fraud_warnings/*",
          run=_retrieve("radar.early_fraud_warning"), spec=_spec()),
    Route(method="POST", pattern="/v1/refunds",
          run=lambda c: reversals.refund(c.account, c.params),
          spec=_spec(charge="text", payment_intent="text", amount="number", reason="text",
                     metadata="map")),
    Route(method="POST", pattern="/v1/refunds/*",
          run=lambda c: reversals.update_refund(c.account, c.thing("refund"), c.params),
          spec=_spec(metadata="map")),
    Route(method="POST", pattern="/v1/refunds/*/cancel",
          run=lambda c: reversals.cancel_refund(c.account, c.thing("refund")), spec=_spec()),
    Route(method="GET", pattern="/v1/refunds", run=_list("refund"),
          spec=_page_spec(charge="text", payment_intent="text", created="range")),
    Route(method="GET", pattern="/v1/refunds/*", run=_retrieve("refund"), spec=_spec()),
    Route(method="GET", pattern="/v1/sigma/scheduled_query_runs",
          run=_list("scheduled_query_run"), spec=_page_spec()),
    Route(method="GET", pattern="/v1/sigma/scheduled_query_runs/*",
          run=_retrieve("scheduled_query_run"), spec=_spec()),
    Route(method="GET", pattern="/v1/files/*", run=_retrieve("file"), spec=_spec()),
    Route(method="GET", pattern="/v1/files/*/contents", is_file=True,
          run=lambda c: {"contents": sigma.contents(c.account, c.ids[0])}),
    Route(method="GET", pattern="/v1/mandates/*", run=_retrieve("mandate"), spec=_spec()),
    Route(method="POST", pattern="/v1/credit_notes",
          run=lambda c: crediting.create(c.account, c.params),
          spec=_CREDIT_NOTE),
    Route(method="GET", pattern="/v1/credit_notes/preview",
          run=lambda c: crediting.preview(c.account, c.params), spec=_CREDIT_NOTE),
    Route(method="GET", pattern="/v1/credit_notes", run=_list("credit_note"),
          spec=_page_spec(invoice="text", customer="text", created="range")),
    Route(method="GET", pattern="/v1/credit_notes/*", run=_retrieve("credit_note"),
          spec=_spec()),
    Route(method="GET", pattern="/v1/credit_notes/*/lines",
          run=lambda c: wire.page(c.thing("credit_note")["lines"]["data"], c.params, c.path),
          spec=_page_spec()),
    Route(method="POST", pattern="/v1/credit_notes/*",
          run=lambda c: crediting.update(c.account, c.thing("credit_note"), c.params),
          spec=_spec(memo="text", metadata="map")),
    Route(method="POST", pattern="/v1/credit_notes/*/void", locks=True,
          run=lambda c: crediting.void(c.account, c.thing("credit_note")), spec=_spec()),
    Route(method="POST", pattern="/v1/coupons",
          run=lambda c: discounting.create_coupon(c.account, c.params),
          spec=_spec(id="text", duration="text", duration_in_months="number",
                     percent_off="share", amount_off="number", currency="text", name="text",
                     max_redemptions="number", redeem_by="number", metadata="map")),
    Route(method="GET", pattern="/v1/coupons", run=_list("coupon"),
          spec=_page_spec(created="range")),
    Route(method="GET", pattern="/v1/coupons/*", run=_retrieve("coupon"), spec=_spec()),
    Route(method="POST", pattern="/v1/coupons/*",
          run=lambda c: discounting.update_coupon(c.account, c.thing("coupon"), c.params),
          spec=_spec(name="text", metadata="map")),
    Route(method="DELETE", pattern="/v1/coupons/*",
          run=lambda c: discounting.delete_coupon(c.account, c.thing("coupon"))),
    Route(method="POST", pattern="/v1/promotion_codes",
          run=lambda c: discounting.create_promotion_code(c.account, c.params),
          spec=_spec(promotion="map", code="text", customer="text", active="flag",
                     expires_at="number", max_redemptions="number", metadata="map"),
          older={"coupon": "text"}),
    Route(method="GET", pattern="/v1/promotion_codes",
          run=_list("promotion_code", coupon=_of_coupon),
          spec=_page_spec(active="flag", code="text", coupon="text", customer="text",
                          created="range")),
    Route(method="GET", pattern="/v1/promotion_codes/*", run=_retrieve("promotion_code"),
          spec=_spec()),
    Route(method="POST", pattern="/v1/promotion_codes/*",
          run=lambda c: discounting.update_promotion_code(
              c.account, c.thing("promotion_code"), c.params),
          spec=_spec(active="flag", metadata="map")),
    Route(method="POST", pattern="/v1/payment_intents/*/confirm", takes_publishable=True,
          run=_confirm,
          spec=_INTENT_CONFIRM, older=_TYPES),
    Route(method="POST", pattern="/v1/setup_intents",
          run=lambda c: confirming.create_setup(c.account, c.params),
          spec=_spec(customer="text", usage="text", payment_method="text", confirm="flag",
                     allowed_payment_method_types="list", automatic_payment_methods="map",
                     description="text", metadata="map", return_url="text",
                     payment_method_data="map", payment_method_options="map",
                     use_stripe_sdk="flag", mandate_data="map"), older=_TYPES),
    Route(method="POST", pattern="/v1/setup_intents/*",
          run=lambda c: confirming.update_setup(c.account, c.thing("setup_intent"), c.params),
          spec=_spec(customer="text", description="text", metadata="map", payment_method="text",
                     payment_method_data="map", payment_method_options="map",
                     allowed_payment_method_types="list"), older=_TYPES),
    Route(method="POST", pattern="/v1/setup_intents/*/cancel",
          run=lambda c: confirming.cancel_setup(c.account, c.thing("setup_intent"), c.params),
          spec=_spec(cancellation_reason="text")),
    Route(method="GET", pattern="/v1/setup_intents", run=_list("setup_intent"),
          spec=_page_spec(customer="text", payment_method="text", created="range")),
    Route(method="GET", pattern="/v1/setup_intents/*", takes_publishable=True,
          run=_with_secret("setup_intent"), spec={"client_secret": "text", "expand": "list"}),
    Route(method="POST", pattern="/v1/setup_intents/*/confirm", takes_publishable=True,
          run=_confirm_setup,
          spec=_spec(payment_method="text", payment_method_data="map", return_url="text",
                     use_stripe_sdk="flag", mandate_data="map",
                     payment_method_options="map", allowed_payment_method_types="list")),
    Route(method="POST", pattern="/v1/customer_sessions",
          run=lambda c: sessions.create_customer_session(c.account, c.params),
          spec=_spec(customer="text", components="map")),
    Route(method="GET", pattern="/v1/elements/sessions", takes_publishable=True,
          run=lambda c: sessions.elements_session(
              c.account, {**c.params, "client_secret": c.secret}),
          spec={"customer_session_client_secret": "text"}),
    Route(method="POST", pattern="/v1/billing_portal/sessions",
          run=lambda c: sessions.create_portal(c.account, c.params),
          spec=_spec(customer="text", return_url="text", flow_data="map", locale="text",
                     configuration="text")),
)  # fmt: skip

_COMPILED = tuple(
    (re.compile(route.pattern.replace("*", "([^/]+)") + "$"), route) for route in ROUTES
)


def match(method: str, path: str) -> tuple[Route, tuple[str, ...]]:
    """The route of a request, or Stripe's 404 for what the sandbox does not have."""
    if path.endswith("/search"):
        raise invalid(f"The sandbox has no search ({path}); lists and their filters.", status=404)
    for pattern, route in _COMPILED:
        found = pattern.match(path)
        if found and route.method == method:
            return route, found.groups()
    raise invalid(
        f"Unrecognized request URL ({method}: {path}). The sandbox has no such endpoint; see "
        "`retry-engine sandbox --help` for what it has.",
        status=404,
    )
