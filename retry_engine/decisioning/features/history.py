"""What became of the customer's earlier invoices."""

from datetime import datetime

import numpy as np

from retry_engine.decisioning.features.context import DAY, FeatureContext, days_since
from retry_engine.decisioning.features.registry import Group, Value
from retry_engine.decisioning.features.words import as_days, as_yes
from retry_engine.domain.attempts import Outcome

GROUP = Group()


@GROUP.feature("the customer's earlier payments", "this customer's own days of the month")
def _own_month_cycle(context: FeatureContext) -> Value:
    """Closeness in the month to the customer's earlier payments, less that to empty accounts."""
    return _own_cycle(context, 30.4375, 3.0)


@GROUP.feature("the customer's earlier payments", "this customer's own fortnights")
def _own_fortnight_cycle(context: FeatureContext) -> Value:
    """The same, in their fortnights."""
    return _own_cycle(context, 14.0, 2.0)


@GROUP.feature("the customer's earlier payments", "this customer's own days of the week")
def _own_week_cycle(context: FeatureContext) -> Value:
    """The same, in their weeks."""
    return _own_cycle(context, 7.0, 1.0)


@GROUP.feature("the customer's earlier payments", "this customer's usual time of day")
def _own_day_cycle(context: FeatureContext) -> Value:
    """The same, in their days."""
    return _own_cycle(context, 1.0, 0.15)


def _own_cycle(context: FeatureContext, period: float, width: float) -> Value:
    told = [
        a
        for a in (*context.past, *context.view.attempts)
        if a.outcome is Outcome.SUCCEEDED or a.decline_code == "insufficient_funds"
    ][-30:]
    if not told:
        return 0.0
    at = np.array([a.at.timestamp() for a in told])
    sign = np.array([1.0 if a.outcome is Outcome.SUCCEEDED else -1.0 for a in told])
    apart = np.abs(context.slots[:, None] - at[None, :]) / DAY % period
    apart = np.minimum(apart, period - apart)
    return np.asarray((np.exp(-apart / width) * sign).sum(axis=1) / (len(told) + 2.0))


@GROUP.feature("the customer's earlier payments", "how earlier failures of this customer ended")
def _past_share(context: FeatureContext) -> Value:
    """Share of the customer's earlier retries that succeeded, towards a third."""
    won = sum(a.outcome is Outcome.SUCCEEDED for a in context.past)
    return (won + 1.0) / (len(context.past) + 3.0)


@GROUP.feature("the customer's earlier payments", "how much is known of this customer")
def _past_attempts(context: FeatureContext) -> Value:
    """Attempts on the customer's other invoices."""
    return float(min(len(context.past), 50))


@GROUP.feature("the customer's earlier payments", "time since this customer last paid", as_days)
def _days_since_paid(context: FeatureContext) -> Value:
    """Days since the customer's last payment after a failure."""
    paid = [a.at for a in context.past if a.outcome is Outcome.SUCCEEDED]
    return days_since(context.slots, paid[-1] if paid else None)


@GROUP.feature("the customer's earlier payments", "how soon earlier failures were paid")
def _usual_delay(context: FeatureContext) -> Value:
    """Mean days from an earlier invoice's failure to its payment; -1 where none was."""
    first: dict[str, datetime] = {}
    delays = []
    for a in context.past:
        if a.outcome is Outcome.SUCCEEDED and a.invoice_id in first:
            delays.append((a.at - first[a.invoice_id]).total_seconds() / DAY)
        first.setdefault(a.invoice_id, a.at)
    return float(np.mean(delays)) if delays else -1.0


@GROUP.feature("the customer's earlier payments", "past payments on this method", as_yes)
def _method_paid_before(context: FeatureContext) -> Value:
    """1 where this method has paid an earlier invoice after a failure."""
    return float(
        any(a.outcome is Outcome.SUCCEEDED for a in context.view.attempts_on(context.method))
    )
