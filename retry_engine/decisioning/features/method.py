"""The payment method itself."""

import numpy as np

from retry_engine.decisioning.features.context import FeatureContext
from retry_engine.decisioning.features.registry import Feature, Group, Value
from retry_engine.decisioning.features.words import as_yes

GROUP = Group()


@GROUP.feature("payment method", "the method that failed first", as_yes)
def _is_opening_method(context: FeatureContext) -> Value:
    """1 for the method whose failure opened the case."""
    first = context.view.first_failure
    return float(first is not None and first.payment_method_id == context.method.id)


@GROUP.feature("payment method", "the card was replaced or is new", as_yes)
def _is_new(context: FeatureContext) -> Value:
    """1 where the method was added or changed since the case opened and not declined since."""
    changed = context.method.changed_at or context.method.added_at
    return float(changed is not None and changed > context.view.opened_at and not context.here)


@GROUP.feature("payment method", "card expiry")
def _months_to_expiry(context: FeatureContext) -> Value:
    """Whole months to the card's expiry at the moment, -6 to 36; 24 where it has none."""
    if context.method.card_exp is None:
        return 24.0
    year, month = context.method.card_exp
    there = (year - 1970) * 12 + month - 1
    return np.clip(there - context.dates.astype("datetime64[M]").astype(np.float64), -6.0, 36.0)


def _funding_flag(name: str, words: str) -> None:
    def compute(context: FeatureContext) -> Value:
        return float(context.method.card_funding == name)

    doc = f"1 for a {name} card."
    GROUP.features.append(Feature(f"is_{name}", doc, "payment method", words, compute))


for _name, _words in (
    ("credit", "credit card"),
    ("debit", "debit card"),
    ("prepaid", "prepaid card"),
):
    _funding_flag(_name, _words)


@GROUP.feature("payment method", "bank debit")
def _is_bank_debit(context: FeatureContext) -> Value:
    """1 for a method that is no card."""
    return float(context.method.type != "card")


@GROUP.feature("payment method", "card of another country")
def _is_foreign(context: FeatureContext) -> Value:
    """1 where card and customer are of different countries."""
    country = context.view.customer_country
    return float(bool(country and context.method.card_country not in (None, country)))


@GROUP.feature("payment method", "card network")
def _brand(context: FeatureContext) -> Value:
    """1 Visa, 2 Mastercard, 3 American Express, 0 other or none."""
    order = {"visa": 1.0, "mastercard": 2.0, "amex": 3.0}
    return order.get(context.method.card_brand or "", 0.0)
