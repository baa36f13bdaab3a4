"""Whether money is there: pay cycles of the country, and the customer's own record."""

import numpy as np

from retry_engine.decisioning import pay_cycles
from retry_engine.decisioning.features.context import FeatureContext
from retry_engine.decisioning.features.registry import Group, Value
from retry_engine.decisioning.features.words import as_days, as_percent, from_log_hazard
from retry_engine.decisioning.prior import log_hazard

GROUP = Group()


_PAY = "pay cycles of the country and the customer's own record"


@GROUP.feature(_PAY, "whether money has come since the decline", from_log_hazard)
def _funds_hazard(context: FeatureContext) -> Value:
    """Log hazard of finding money, over all pay cycles by the belief in them."""
    last = context.last_here
    kind = pay_cycles.kind_of(last.decline_code) if last else None
    return log_hazard(
        context.pay_cycles.chance(
            context.money,
            pay_cycles.FRESH if kind is None else kind,
            context.since_payday,
            context.waited,
        )
    )


@GROUP.feature(_PAY, "how long this customer's money lasts")
def _balance_depth(context: FeatureContext) -> Value:
    """Belief that money lasts weeks, less the belief that it is gone within days."""
    depths = context.money.sum(axis=0)
    return float(depths[-1] - depths[0])


@GROUP.feature(_PAY, "payday since the decline", as_percent)
def _paid_since_decline(context: FeatureContext) -> Value:
    """Belief that a payday lies between the last decline and the moment."""
    return np.asarray(context.paid_since[:, :-1] @ context.belief[:-1])


@GROUP.feature(_PAY, "how fresh the last payday is")
def _payday_freshness(context: FeatureContext) -> Value:
    """Belief-weighted freshness of the last payday, e-fold in 6 days."""
    return np.asarray(np.exp(context.since_payday[:, :-1] / -6.0) @ context.belief[:-1])


@GROUP.feature(_PAY, "payday just before", as_percent)
def _just_paid(context: FeatureContext) -> Value:
    """Belief that wages came within the last two days and after the decline."""
    fresh = (context.since_payday < 2.0) & context.paid_since
    return np.asarray(fresh[:, :-1] @ context.belief[:-1])


@GROUP.feature(_PAY, "how sure the payday is")
def _cycle_certainty(context: FeatureContext) -> Value:
    """The greatest belief in one cycle."""
    return float(context.belief.max())


@GROUP.feature(_PAY, "the likeliest payday", as_days)
def _days_since_likeliest_payday(context: FeatureContext) -> Value:
    """Days since the last payday of the likeliest cycle."""
    return np.asarray(context.since_payday[:, int(np.argmax(context.belief[:-1]))])
