"""Subscriptions."""

from dataclasses import replace

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.api.lists import list_of
from retry_engine.sandbox.api.route import Call, Route, page_spec, retrieve, spec
from retry_engine.sandbox.billing import lifecycle, subscriptions
from retry_engine.sandbox.objects import Obj

_SUBSCRIPTION = spec(
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


def _list_subscriptions(call: Call) -> Obj:
    # unless asked for, Stripe leaves out those that are canceled
    asked = call.params if "status" in call.params else {**call.params, "status": _ALIVE}
    run = list_of("subscription", status=_with_status, price=_with_price)
    return run(replace(call, params=asked))


ROUTES: tuple[Route, ...] = (
    Route(method="POST", pattern="/v1/subscriptions",
          run=lambda c: subscriptions.create(c.account, c.params),
          spec={**_SUBSCRIPTION_CREATE, "customer": "text", "currency": "text",
                "billing_cycle_anchor": "number", "trial_period_days": "number"}),
    Route(method="GET", pattern="/v1/subscriptions", run=_list_subscriptions,
          spec=page_spec(customer="text", status="text", price="text", created="range",
                         collection_method="text", test_clock="text")),
    Route(method="GET", pattern="/v1/subscriptions/*", run=retrieve("subscription"),
          spec=spec()),
    Route(method="POST", pattern="/v1/subscriptions/*",
          run=lambda c: subscriptions.update(c.account, c.thing("subscription"), c.params),
          spec=_SUBSCRIPTION),
    Route(method="DELETE", pattern="/v1/subscriptions/*",
          run=lambda c: lifecycle.cancel(c.account, c.thing("subscription"), c.params),
          spec=spec(cancellation_details="map", invoice_now="flag", prorate="flag")),
    Route(method="POST", pattern="/v1/subscriptions/*/pause",
          run=lambda c: lifecycle.pause(c.account, c.thing("subscription")),
          spec=spec(type="text", bill_for="map", invoicing_behavior="text")),
    Route(method="POST", pattern="/v1/subscriptions/*/resume",
          run=lambda c: lifecycle.resume(c.account, c.thing("subscription")),
          spec=spec(billing_cycle_anchor="text", proration_behavior="text")),
)  # fmt: skip
