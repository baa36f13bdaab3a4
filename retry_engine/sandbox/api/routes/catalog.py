"""The product catalog."""

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.api import lists
from retry_engine.sandbox.api.lists import list_of
from retry_engine.sandbox.api.route import Route, page_spec, retrieve, spec
from retry_engine.sandbox.billing import catalog
from retry_engine.sandbox.objects import Obj

_PRODUCT = spec(
    name="text", description="text", metadata="map", active="flag", images="list",
    shippable="flag", statement_descriptor="text", tax_code="text", unit_label="text", url="text",
    package_dimensions="map", marketing_features="list",
)  # fmt: skip


_PRICE = spec(
    currency="text", unit_amount="number", unit_amount_decimal="text", recurring="map",
    product="text", product_data="map", nickname="text", metadata="map", lookup_key="text",
    active="flag", tax_behavior="text",
)  # fmt: skip


_TAX_RATE = spec(
    display_name="text", description="text", active="flag", country="text", state="text",
    jurisdiction="text", tax_type="text", metadata="map",
)  # fmt: skip


def _has_key(account: Account, price: Obj, wanted: list[str]) -> bool:
    return price["lookup_key"] in wanted


ROUTES: tuple[Route, ...] = (
    Route(method="POST", pattern="/v1/products",
          run=lambda c: catalog.create_product(c.account, c.params),
          spec={**_PRODUCT, "id": "text", "default_price_data": "map"}),
    Route(method="GET", pattern="/v1/products", run=list_of("product"),
          spec=page_spec(created="range", active="flag", url="text", shippable="flag")),
    Route(method="GET", pattern="/v1/products/*", run=retrieve("product"), spec=spec()),
    Route(method="POST", pattern="/v1/products/*",
          run=lambda c: catalog.update_product(c.account, c.thing("product"), c.params),
          spec={**_PRODUCT, "default_price": "text"}),
    Route(method="DELETE", pattern="/v1/products/*",
          run=lambda c: catalog.delete_product(c.account, c.thing("product"))),
    Route(method="POST", pattern="/v1/prices",
          run=lambda c: catalog.create_price(c.account, c.params), spec=_PRICE),
    Route(method="GET", pattern="/v1/prices", run=list_of("price", lookup_keys=_has_key),
          spec=page_spec(product="text", active="flag", currency="text", created="range",
                         type="text", lookup_keys="list")),
    Route(method="GET", pattern="/v1/prices/*", run=retrieve("price"), spec=spec()),
    Route(method="POST", pattern="/v1/prices/*",
          run=lambda c: catalog.update_price(c.account, c.thing("price"), c.params),
          spec=spec(nickname="text", metadata="map", active="flag", lookup_key="text",
                    tax_behavior="text")),
    Route(method="POST", pattern="/v1/plans",
          run=lambda c: catalog.create_plan(c.account, c.params),
          spec=spec(currency="text", interval="text", interval_count="number", amount="number",
                    product="any", nickname="text", metadata="map")),
    Route(method="GET", pattern="/v1/plans",
          run=lambda c: lists.page(catalog.plans(c.account), c.params, c.path),
          spec=page_spec()),
    Route(method="GET", pattern="/v1/plans/*",
          run=lambda c: catalog.retrieve_plan(c.account, c.ids[0]), spec=spec()),
    Route(method="POST", pattern="/v1/plans/*",
          run=lambda c: catalog.update_plan(c.account, c.ids[0], c.params),
          spec=spec(nickname="text", metadata="map", active="flag")),
    Route(method="DELETE", pattern="/v1/plans/*",
          run=lambda c: catalog.delete_plan(c.account, c.ids[0])),
    Route(method="POST", pattern="/v1/tax_rates",
          run=lambda c: catalog.create_tax_rate(c.account, c.params),
          spec={**_TAX_RATE, "inclusive": "flag", "percentage": "share"}),
    Route(method="GET", pattern="/v1/tax_rates", run=list_of("tax_rate"),
          spec=page_spec(active="flag", created="range", inclusive="flag")),
    Route(method="GET", pattern="/v1/tax_rates/*", run=retrieve("tax_rate"), spec=spec()),
    Route(method="POST", pattern="/v1/tax_rates/*",
          run=lambda c: catalog.update_tax_rate(c.account, c.thing("tax_rate"), c.params),
          spec=_TAX_RATE),
)  # fmt: skip
