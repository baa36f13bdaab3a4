"""Charges, and money that goes back: refunds, disputes, early fraud warnings."""

from retry_engine.sandbox.api.lists import list_of
from retry_engine.sandbox.api.route import Route, page_spec, retrieve, spec
from retry_engine.sandbox.payments import charges, disputes, refunds

_CHARGE = spec(
    description="text", metadata="map", receipt_email="text", shipping="map", transfer_group="text",
)  # fmt: skip


ROUTES: tuple[Route, ...] = (
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
          spec=spec(amount="number", receipt_email="text", statement_descriptor="text",
                    statement_descriptor_suffix="text")),
    Route(method="GET", pattern="/v1/charges", run=list_of("charge"),
          spec=page_spec(customer="text", payment_intent="text", created="range")),
    Route(method="GET", pattern="/v1/charges/*", run=retrieve("charge"), spec=spec()),
    Route(method="GET", pattern="/v1/disputes", run=list_of("dispute"),
          spec=page_spec(charge="text", payment_intent="text", created="range")),
    Route(method="GET", pattern="/v1/disputes/*", run=retrieve("dispute"), spec=spec()),
    Route(method="POST", pattern="/v1/disputes/*",
          run=lambda c: disputes.update(c.account, c.thing("dispute"), c.params),
          spec=spec(evidence="map", metadata="map", submit="flag")),
    Route(method="POST", pattern="/v1/disputes/*/close",
          run=lambda c: disputes.close(c.account, c.thing("dispute")), spec=spec()),
    Route(method="GET", pattern="/v1/radar/early_fraud_warnings",
          run=list_of("radar.early_fraud_warning"),
          spec=page_spec(charge="text", payment_intent="text", created="range")),
    Route(method="GET", pattern="/v1/radar/early_fraud_warnings/*",
          run=retrieve("radar.early_fraud_warning"), spec=spec()),
    Route(method="POST", pattern="/v1/refunds",
          run=lambda c: refunds.create(c.account, c.params),
          spec=spec(charge="text", payment_intent="text", amount="number", reason="text",
                    metadata="map")),
    Route(method="POST", pattern="/v1/refunds/*",
          run=lambda c: refunds.update(c.account, c.thing("refund"), c.params),
          spec=spec(metadata="map")),
    Route(method="POST", pattern="/v1/refunds/*/cancel",
          run=lambda c: refunds.cancel(c.account, c.thing("refund")), spec=spec()),
    Route(method="GET", pattern="/v1/refunds", run=list_of("refund"),
          spec=page_spec(charge="text", payment_intent="text", created="range")),
    Route(method="GET", pattern="/v1/refunds/*", run=retrieve("refund"), spec=spec()),
)  # fmt: skip
