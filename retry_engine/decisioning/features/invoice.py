"""The invoice and the customer."""

from datetime import timedelta

import numpy as np

from retry_engine.decisioning.features.context import FeatureContext
from retry_engine.decisioning.features.registry import Group, Value
from retry_engine.domain.attempts import Outcome

GROUP = Group()


@GROUP.feature("invoice", "the amount")
def _log_amount(context: FeatureContext) -> Value:
    """Log of the amount owed in minor units."""
    return float(np.log1p(context.view.amount))


@GROUP.feature("invoice", "the amount against earlier payments")
def _amount_ratio(context: FeatureContext) -> Value:
    """Log of the amount over the mean that the customer paid before; 0 where none."""
    paid = [
        a.amount
        for a in context.past
        if a.outcome is Outcome.SUCCEEDED and a.currency == context.view.currency
    ]
    return float(np.log((context.view.amount + 1) / (np.mean(paid) + 1))) if paid else 0.0


@GROUP.feature("customer", "how long the customer has been here")
def _log_tenure(context: FeatureContext) -> Value:
    """Log of the days since the customer's first; -1 where unknown."""
    since = context.view.customer_since
    if since is None:
        return -1.0
    return float(np.log1p(max((context.view.now - since) / timedelta(days=1), 0.0)))


@GROUP.feature("invoice", "billing interval")
def _interval_days(context: FeatureContext) -> Value:
    """Days between invoices; 0 where unknown."""
    days: dict[str | None, float] = {"day": 1.0, "week": 7.0, "month": 30.0, "year": 365.0}
    return days.get(context.view.billing_interval, 0.0)
