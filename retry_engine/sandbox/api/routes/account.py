"""The account: itself, its events, its webhook endpoints, its scheduled queries."""

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts import sigma, webhook_endpoints
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.api.lists import list_of
from retry_engine.sandbox.api.route import Call, Route, page_spec, retrieve, spec
from retry_engine.sandbox.objects import Obj


def _account(call: Call) -> Obj:
    account = call.account
    return objects.account(
        id=account.id,
        created=account.real_now(),
        country=account.terms.country,
        currency=account.terms.default_currency,
    )


def _types(account: Account, event: Obj, wanted: list[str]) -> bool:
    return event["type"] in wanted


def _one_type(account: Account, event: Obj, wanted: str) -> bool:
    if wanted.endswith(".*"):
        return bool(event["type"].startswith(wanted[:-1]))
    return bool(event["type"] == wanted)


def _delivered(account: Account, event: Obj, wanted: bool) -> bool:
    lost = account.hidden.get(event["id"], {}).get("undelivered", False)
    return wanted is not bool(lost or event["pending_webhooks"])


ROUTES: tuple[Route, ...] = (
    Route(method="GET", pattern="/v1/account", run=_account, spec=spec()),
    Route(method="GET", pattern="/v1/events",
          run=list_of("event", types=_types, type=_one_type, delivery_success=_delivered),
          spec=page_spec(type="text", types="list", created="range", delivery_success="flag")),
    Route(method="GET", pattern="/v1/events/*", run=retrieve("event"), spec=spec()),
    Route(method="POST", pattern="/v1/webhook_endpoints",
          run=lambda c: webhook_endpoints.create(c.account, c.params),
          spec=spec(url="text", enabled_events="list", api_version="text", connect="flag",
                    description="text", metadata="map")),
    Route(method="GET", pattern="/v1/webhook_endpoints", run=list_of("webhook_endpoint"),
          spec=page_spec()),
    Route(method="GET", pattern="/v1/webhook_endpoints/*", run=retrieve("webhook_endpoint"),
          spec=spec()),
    Route(method="POST", pattern="/v1/webhook_endpoints/*",
          run=lambda c: webhook_endpoints.update(c.thing("webhook_endpoint"), c.params),
          spec=spec(url="text", enabled_events="list", disabled="flag", description="text",
                    metadata="map")),
    Route(method="DELETE", pattern="/v1/webhook_endpoints/*",
          run=lambda c: webhook_endpoints.delete(c.account, c.thing("webhook_endpoint"))),
    Route(method="GET", pattern="/v1/sigma/scheduled_query_runs",
          run=list_of("scheduled_query_run"), spec=page_spec()),
    Route(method="GET", pattern="/v1/sigma/scheduled_query_runs/*",
          run=retrieve("scheduled_query_run"), spec=spec()),
    Route(method="GET", pattern="/v1/files/*", run=retrieve("file"), spec=spec()),
    Route(method="GET", pattern="/v1/files/*/contents", is_file=True,
          run=lambda c: {"contents": sigma.contents(c.account, c.ids[0])}),
)  # fmt: skip
