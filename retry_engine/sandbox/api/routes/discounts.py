"""Coupons and promotion codes."""

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.api.lists import list_of
from retry_engine.sandbox.api.route import Route, page_spec, retrieve, spec
from retry_engine.sandbox.billing import discounts
from retry_engine.sandbox.objects import Obj


def _of_coupon(account: Account, code: Obj, wanted: str) -> bool:
    return bool(code["promotion"]["coupon"] == wanted)


ROUTES: tuple[Route, ...] = (
    Route(method="POST", pattern="/v1/coupons",
          run=lambda c: discounts.create_coupon(c.account, c.params),
          spec=spec(id="text", duration="text", duration_in_months="number",
                    percent_off="share", amount_off="number", currency="text", name="text",
                    max_redemptions="number", redeem_by="number", metadata="map")),
    Route(method="GET", pattern="/v1/coupons", run=list_of("coupon"),
          spec=page_spec(created="range")),
    Route(method="GET", pattern="/v1/coupons/*", run=retrieve("coupon"), spec=spec()),
    Route(method="POST", pattern="/v1/coupons/*",
          run=lambda c: discounts.update_coupon(c.account, c.thing("coupon"), c.params),
          spec=spec(name="text", metadata="map")),
    Route(method="DELETE", pattern="/v1/coupons/*",
          run=lambda c: discounts.delete_coupon(c.account, c.thing("coupon"))),
    Route(method="POST", pattern="/v1/promotion_codes",
          run=lambda c: discounts.create_promotion_code(c.account, c.params),
          spec=spec(promotion="map", code="text", customer="text", active="flag",
                    expires_at="number", max_redemptions="number", metadata="map"),
          older={"coupon": "text"}),
    Route(method="GET", pattern="/v1/promotion_codes",
          run=list_of("promotion_code", coupon=_of_coupon),
          spec=page_spec(active="flag", code="text", coupon="text", customer="text",
                         created="range")),
    Route(method="GET", pattern="/v1/promotion_codes/*", run=retrieve("promotion_code"),
          spec=spec()),
    Route(method="POST", pattern="/v1/promotion_codes/*",
          run=lambda c: discounts.update_promotion_code(
              c.account, c.thing("promotion_code"), c.params),
          spec=spec(active="flag", metadata="map")),
)  # fmt: skip
