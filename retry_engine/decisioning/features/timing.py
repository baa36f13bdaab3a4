"""When: since the last attempts, and by the clock and the calendar of the customer."""

import numpy as np

from retry_engine.decisioning import paydays
from retry_engine.decisioning.features.context import DAY, FeatureContext, days_since
from retry_engine.decisioning.features.registry import Group, Value
from retry_engine.decisioning.features.words import as_days, as_weekday, as_yes, from_log_hours

GROUP = Group()


@GROUP.feature("attempts", "time since this method was last tried", from_log_hours)
def _log_gap_method(context: FeatureContext) -> Value:
    """Log of the hours since the last decline of this method in the case."""
    last = context.last_here
    return np.log1p(days_since(context.slots, last.at if last else None) * np.float64(24.0))


@GROUP.feature("attempts", "time since the last attempt", from_log_hours)
def _log_gap_any(context: FeatureContext) -> Value:
    """Log of the hours since anybody's last attempt in the case."""
    last = context.last_any
    return np.log1p(days_since(context.slots, last.at if last else None) * np.float64(24.0))


@GROUP.feature("attempts", "age of the case", as_days)
def _days_open(context: FeatureContext) -> Value:
    """Days since the failure that opened the case."""
    return days_since(context.slots, context.view.opened_at)


@GROUP.feature("customer's timezone", "time of day")
def _hour_sin(context: FeatureContext) -> Value:
    """Local hour, sine."""
    return np.sin(context.local % DAY / DAY * 2 * np.pi)


@GROUP.feature("customer's timezone", "time of day")
def _hour_cos(context: FeatureContext) -> Value:
    """Local hour, cosine."""
    return np.cos(context.local % DAY / DAY * 2 * np.pi)


@GROUP.feature("customer's timezone", "day of the week", as_weekday)
def _weekday(context: FeatureContext) -> Value:
    """Local day of the week, Monday 0."""
    return (context.local // DAY + 3) % 7


@GROUP.feature("customer's timezone", "day of the month")
def _day_of_month(context: FeatureContext) -> Value:
    """Local day of the month, from 1."""
    months = context.dates.astype("datetime64[M]")
    return np.asarray((context.dates - months).astype(np.float64) + 1)


@GROUP.feature("customer's timezone", "days to the end of the month")
def _days_to_month_end(context: FeatureContext) -> Value:
    """Days to the local month's last."""
    after = (context.dates.astype("datetime64[M]") + np.timedelta64(1, "M")).astype("datetime64[D]")
    return (after - context.dates).astype(np.float64) - 1


@GROUP.feature("holidays of the country", "holiday or weekend", as_yes)
def _is_day_off(context: FeatureContext) -> Value:
    """1 on a weekend or public holiday of the customer's country."""
    days, index = np.unique(context.dates, return_inverse=True)
    country = context.view.customer_country or context.method.card_country
    off = [float(paydays.is_day_off(country, day)) for day in days.tolist()]
    return np.asarray(np.array(off)[index], dtype=np.float64)
