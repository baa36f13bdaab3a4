"""Payment methods, legacy sources, tokens and mandates."""

from retry_engine.sandbox.api.lists import list_of, page
from retry_engine.sandbox.api.route import Call, Route, page_spec, retrieve, spec
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import charges, payment_methods, sources

_SOURCE_UPDATE = spec(
    name="text", exp_month="text", exp_year="text", address_city="text", address_country="text",
    address_line1="text", address_line2="text", address_state="text", address_zip="text",
    metadata="map",
)  # fmt: skip


def _customers_methods(call: Call) -> Obj:
    customer = call.thing("customer")
    params = {**call.params, "customer": customer["id"]}
    return list_of("payment_method")(Call(call.account, params, call.ids, call.path))


def _customers_method(call: Call) -> Obj:
    method = call.account.get("payment_method", call.ids[1])
    if method["customer"] != call.ids[0]:
        raise invalid("The customer does not have this payment method.", code="resource_missing")
    return method


def _sources(call: Call) -> Obj:
    """`GET /v1/customers/{id}/sources`: cards are the only kind that is simulated."""
    customer = call.thing("customer")
    simulated = call.params.get("object") in (None, "card")
    rows = sources.cards(call.account, customer) if simulated else []
    return page(rows, call.params, call.path)


ROUTES: tuple[Route, ...] = (
    Route(method="POST", pattern="/v1/customers/*/sources",
          run=lambda c: sources.create(
              c.account, c.thing("customer"), c.params.get("source"), c.params.get("metadata")),
          spec=spec(source="any", metadata="map", validate="flag")),
    Route(method="GET", pattern="/v1/customers/*/sources",
          run=_sources,
          spec=page_spec(object="text")),
    Route(method="GET", pattern="/v1/customers/*/sources/*",
          run=lambda c: sources.card_of(
              sources.retrieve(c.account, c.thing("customer"), c.ids[1])), spec=spec()),
    Route(method="POST", pattern="/v1/customers/*/sources/*",
          run=lambda c: sources.update(c.account, c.thing("customer"), c.ids[1], c.params),
          spec=_SOURCE_UPDATE),
    Route(method="DELETE", pattern="/v1/customers/*/sources/*",
          run=lambda c: sources.delete(c.account, c.thing("customer"), c.ids[1])),
    Route(method="GET", pattern="/v1/customers/*/payment_methods", run=_customers_methods,
          spec=page_spec(type="text")),
    Route(method="GET", pattern="/v1/customers/*/payment_methods/*", run=_customers_method,
          spec=spec()),
    Route(method="POST", pattern="/v1/payment_methods", takes_publishable=True,
          run=lambda c: payment_methods.create(c.account, c.params),
          spec=spec(type="text", card="map", sepa_debit="map", us_bank_account="map",
                    bacs_debit="map", billing_details="map", metadata="map",
                    allow_redisplay="text")),
    Route(method="GET", pattern="/v1/payment_methods", run=list_of("payment_method"),
          spec=page_spec(customer="text", type="text")),
    Route(method="GET", pattern="/v1/payment_methods/*", run=retrieve("payment_method"),
          spec=spec()),
    Route(method="POST", pattern="/v1/payment_methods/*",
          run=lambda c: payment_methods.update(c.account, c.thing("payment_method"), c.params),
          spec=spec(card="map", billing_details="map", metadata="map",
                    allow_redisplay="text")),
    Route(method="POST", pattern="/v1/payment_methods/*/attach",
          run=lambda c: payment_methods.attach(c.account, c.ids[0], c.params.get("customer") or ""),
          spec=spec(customer="text")),
    Route(method="POST", pattern="/v1/payment_methods/*/detach",
          run=lambda c: payment_methods.detach(c.account, c.thing("payment_method")), spec=spec()),
    Route(method="POST", pattern="/v1/tokens", takes_publishable=True,
          run=lambda c: charges.token(c.account, c.params), spec=spec(card="map")),
    Route(method="GET", pattern="/v1/tokens/*", run=retrieve("token"), spec=spec()),
    Route(method="GET", pattern="/v1/mandates/*", run=retrieve("mandate"), spec=spec()),
)  # fmt: skip
