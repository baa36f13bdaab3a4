"""All routes of the API, by resource."""

import re

from retry_engine.sandbox.api.route import Route
from retry_engine.sandbox.api.routes import (
    account,
    catalog,
    charges,
    clocks,
    customers,
    discounts,
    intents,
    invoices,
    payment_methods,
    sessions,
    subscriptions,
)
from retry_engine.sandbox.errors import invalid

ROUTES: tuple[Route, ...] = (
    *account.ROUTES,
    *customers.ROUTES,
    *payment_methods.ROUTES,
    *catalog.ROUTES,
    *discounts.ROUTES,
    *subscriptions.ROUTES,
    *invoices.ROUTES,
    *intents.ROUTES,
    *charges.ROUTES,
    *sessions.ROUTES,
    *clocks.ROUTES,
)

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
