"""What the issuer said, and how often anybody tried."""

import numpy as np

from retry_engine.decisioning.features.context import HOUR, FeatureContext, issuer_key
from retry_engine.decisioning.features.registry import Feature, Group, Value
from retry_engine.domain import codes
from retry_engine.domain.codes import Category, Network

GROUP = Group()


def _category_flag(name: str, words: str) -> None:
    def compute(context: FeatureContext) -> Value:
        return float(context.category == name)

    doc = f"1 where the last decline of this method in the case is of the category {name}."
    GROUP.features.append(Feature(f"last_{name}", doc, "decline codes", words, compute))


for _name, _words in (
    ("none", "not declined in this case"),
    (Category.INSUFFICIENT_FUNDS, "the account was empty"),
    (Category.ISSUER_RISK, "the bank gave no reason"),
    (Category.ISSUER_TRANSIENT, "a technical error"),
    (Category.LIMITS, "a limit was reached"),
    (Category.FRAUD, "suspected fraud"),
):
    _category_flag(_name, _words)


@GROUP.feature("decline codes", "the decline code's recent success")
def _code_rate(context: FeatureContext) -> Value:
    """Recent success of retries after the same decline code."""
    last = context.last_here
    return context.rates.of(f"code:{last.decline_code if last else None}")


@GROUP.feature("decline codes", "the issuer's recent success")
def _issuer_rate(context: FeatureContext) -> Value:
    """Recent success of retries on such cards."""
    return context.rates.of(issuer_key(context.method))


@GROUP.feature("decline codes", "first failure of the case")
def _opening_code_rate(context: FeatureContext) -> Value:
    """Recent success of retries after the code that opened the case."""
    first = context.view.first_failure
    return context.rates.of(f"code:{first.decline_code if first else None}")


@GROUP.feature("decline codes", "the account was empty before")
def _funds_count(context: FeatureContext) -> Value:
    """Insufficient-funds declines in the case, on any method."""
    return float(sum(a.decline_code == "insufficient_funds" for a in context.view.attempts))


@GROUP.feature("decline codes", "the same answer again and again")
def _same_in_a_row(context: FeatureContext) -> Value:
    """How often in a row this method gave its last code."""
    count = 0
    for attempt in reversed(context.here):
        if attempt.decline_code != context.here[-1].decline_code:
            break
        count += 1
    return float(count)


@GROUP.feature("decline codes", "different answers")
def _distinct_codes(context: FeatureContext) -> Value:
    """Different decline codes in the case."""
    return float(len({a.decline_code for a in context.view.attempts}))


@GROUP.feature("advice codes", "the bank said to try again later")
def _advised_later(context: FeatureContext) -> Value:
    """1 where the last advice for this method was try_again_later."""
    last = context.last_here
    return float(last is not None and last.advice_code == "try_again_later")


@GROUP.feature("network advice codes", "the network's waiting time")
def _advised_wait_left(context: FeatureContext) -> Value:
    """Hours left of the wait that Mastercard's advice code named; negative after it, 0 if none."""
    last = context.last_here
    hours = codes.official_wait(Network.MASTERCARD, last.network_advice_code) if last else None
    if last is None or hours is None:
        return 0.0
    return np.clip(hours - (context.slots - last.at.timestamp()) / HOUR, -96.0, 240.0)


@GROUP.feature("Radar", "risk")
def _risk(context: FeatureContext) -> Value:
    """The last attempt's risk: 0 normal or unknown, 1 elevated, 2 highest."""
    last = context.last_any
    return {"elevated": 1.0, "highest": 2.0}.get((last.risk_level or "") if last else "", 0.0)


# -- attempts


@GROUP.feature("attempts", "attempts on this method")
def _tries_method(context: FeatureContext) -> Value:
    """Declines of this method in the case."""
    return float(len(context.here))


@GROUP.feature("attempts", "attempts so far")
def _tries(context: FeatureContext) -> Value:
    """Attempts in the case by anybody."""
    return float(len(context.view.attempts))


@GROUP.feature("attempts", "attempts within 48 hours")
def _tries_48h(context: FeatureContext) -> Value:
    """Attempts in the case within 48 hours before the moment."""
    return _within(context, 48)


@GROUP.feature("attempts", "attempts within 96 hours")
def _tries_96h(context: FeatureContext) -> Value:
    """Attempts in the case within 96 hours before the moment."""
    return _within(context, 96)


def _within(context: FeatureContext, hours: float) -> Value:
    at = np.array([a.at.timestamp() for a in context.view.attempts])
    apart = context.slots[:, None] - at[None, :]
    return np.asarray((apart < hours * HOUR).sum(axis=1), dtype=np.float64)
