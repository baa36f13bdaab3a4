"""Customers."""

from retry_engine.sandbox.api import lists
from retry_engine.sandbox.api.route import Call, Route, page_spec, spec
from retry_engine.sandbox.billing import customers, discounts
from retry_engine.sandbox.checkout import cash_balance
from retry_engine.sandbox.objects import Obj

_CUSTOMER = spec(
    name="text", email="text", phone="text", description="text", metadata="map", address="map",
    shipping="map", invoice_settings="map", payment_method="text", test_clock="text",
    preferred_locales="list", tax_exempt="text", balance="number", invoice_prefix="text",
    next_invoice_sequence="number", source="any", validate="flag",
)  # fmt: skip


_CUSTOMER_UPDATE = {
    **{n: k for n, k in _CUSTOMER.items() if n not in ("payment_method", "test_clock")},
    "default_source": "text",
}  # fmt: skip


def _listed(call: Call) -> Obj:
    """`GET /v1/customers`; those on test clocks only where the clock is named."""
    params = call.params
    clock = params.get("test_clock") or None
    rows = [
        c for c in call.account.newest_first("customer")
        if not c.get("deleted") and c["test_clock"] == clock
        and ("email" not in params or c["email"] == params["email"])
        and ("created" not in params or lists.within(c["created"], params["created"]))
    ]  # fmt: skip
    return lists.page(rows, params, call.path)


ROUTES: tuple[Route, ...] = (
    Route(method="POST", pattern="/v1/customers",
          run=lambda c: customers.create(c.account, c.params), spec=_CUSTOMER,
          older={"coupon": "text"}),
    Route(method="GET", pattern="/v1/customers",
          run=_listed,
          spec=page_spec(email="text", created="range", test_clock="text")),
    Route(method="GET", pattern="/v1/customers/*",
          run=lambda c: customers.retrieve(c.account, c.ids[0]), spec=spec()),
    Route(method="POST", pattern="/v1/customers/*",
          run=lambda c: customers.update(c.account, c.thing("customer"), c.params),
          spec=_CUSTOMER_UPDATE, older={"coupon": "text"}),
    Route(method="DELETE", pattern="/v1/customers/*/discount",
          run=lambda c: discounts.take_from_customer(c.account, c.thing("customer"))),
    Route(method="DELETE", pattern="/v1/customers/*",
          run=lambda c: customers.delete(c.account, c.thing("customer"))),
    Route(method="POST", pattern="/v1/test_helpers/customers/*/fund_cash_balance",
          run=lambda c: cash_balance.fund(c.account, c.thing("customer"), c.params),
          spec=spec(amount="number", currency="text", reference="text")),
    Route(method="GET", pattern="/v1/customers/*/cash_balance",
          run=lambda c: cash_balance.balance(c.account, c.thing("customer")), spec=spec()),
)  # fmt: skip
