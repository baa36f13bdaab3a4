"""Why a charge is planned: the cause in words, and what tells it from the best alternative.

The points are of the learnt model; the documented prior explains itself in words alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

import numpy as np

from retry_engine.decisioning import features
from retry_engine.decisioning.prior import (
    SuccessModel,
    category_of,
    cycle_belief,
    failures_on,
    pay_cycle_days,
)
from retry_engine.decisioning.success_model import (
    Floats,
    LearntModel,
    Matrix,
    Pooled,
    as_chance,
)
from retry_engine.domain.attempts import Attempt
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.codes import Category
from retry_engine.domain.decisions import Reason
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.timezones import zone_of

# A method and a moment.
Charge = tuple[PaymentMethod, datetime]

# Reasons with points of their own, beside those of the pooling; the rest is summed up in one more.
_SHOWN = 5
# Parts of the pooling that are no features.
_OFFSET = "how far such charges differ here from what is generally known"
_WEIGHT = "how much your own history tells of such charges"
_ORDERS = 32
_NIL = 1e-9


def of_charge(
    view: CaseView,
    method: PaymentMethod,
    at: datetime,
    *,
    model: SuccessModel,
    other: Charge | None = None,
) -> tuple[Reason, ...]:
    """Why that moment on that method, in words; against the other charge also in points."""
    general = by_cause(view, method, at)
    if not isinstance(model, LearntModel):
        return general
    if other is None:
        return general[:1]
    told = contrast(model, view, (method, at), other)
    told_apart = [r for r in told if abs(r.points or 0.0) >= 0.5]
    shown = [
        r for n, r in enumerate(told_apart) if n < _SHOWN or r.text.startswith((_OFFSET, _WEIGHT))
    ]
    rest = sum(r.points or 0.0 for r in told) - sum(r.points or 0.0 for r in shown)
    if abs(rest) >= 0.05:
        shown.append(Reason(text="everything else", points=rest))
    return (*general[:1], *shown)


def contrast(model: LearntModel, view: CaseView, one: Charge, two: Charge) -> tuple[Reason, ...]:
    """Why the chance of one charge is not that of the other: points that add up to the gap.

    What is attributed is the function that decides: the log hazard after pooling,
    `w own + (1 - w) (prior + offset)`. Its difference is a sum of named terms: the trees' features
    (exact Shapley values), the prior, its offset, and the weight, each times what the others are in
    the mean of the two charges, which is exact for products. Each term's points are its Shapley
    value in the chance, which rises with the log hazard: so a term has the sign of what it does,
    and none is above the whole scale. Terms that go by the same words are added up; largest first.
    """
    terms, low, high = _terms(model, view, one, two)
    words = list(dict.fromkeys(term.words for term in terms))
    values = np.zeros(len(words))
    loudest: dict[str, _Term] = {}
    for term in terms:
        values[words.index(term.words)] += term.value
        if abs(term.value) >= abs(loudest.get(term.words, term).value):
            loudest[term.words] = term
    points = 100 * _in_chance(values, low, high)
    ordered = sorted(zip(words, points.tolist(), strict=True), key=lambda pair: -abs(pair[1]))
    return tuple(Reason(text=loudest[name].text, points=p) for name, p in ordered if abs(p) > _NIL)


@dataclass(frozen=True, slots=True)
class _Term:
    """A part of the difference of two log hazards, by its words and with the values compared."""

    words: str
    text: str
    value: float


def _terms(
    model: LearntModel, view: CaseView, one: Charge, two: Charge
) -> tuple[list[_Term], float, float]:
    """The terms, and the log hazards of the second charge and of the first, which they lead to."""
    (first, ours), (second, theirs) = (_parts(model, view, charge) for charge in (one, two))
    weight = (first.weight[0] + second.weight[0]) / 2
    known = features.features()
    values = weight * model.calibrator.slope * model.trees.contributions(ours, theirs)
    of_prior = weight * model.calibrator.prior_slope + (1 - weight)
    values[features.column(features.PRIOR)] += of_prior * (first.prior[0] - second.prior[0])
    terms = [
        _Term(f.words, _compared(f, float(ours[0, n]), float(theirs[0, n])), float(values[n]))
        for n, f in enumerate(known)
    ]
    gaps = [part.own[0] - part.prior[0] - part.offset for part in (first, second)]
    terms += [
        _Term(_OFFSET, _OFFSET, float((1 - weight) * (first.offset - second.offset))),
        _Term(
            _WEIGHT,
            f"{_WEIGHT}: {first.weight[0]:.0%} rather than {second.weight[0]:.0%}",
            float((first.weight[0] - second.weight[0]) * sum(gaps) / 2),
        ),
    ]
    return terms, float(second.log_hazard[0]), float(first.log_hazard[0])


def _parts(model: LearntModel, view: CaseView, charge: Charge) -> tuple[Pooled, Matrix]:
    method, at = charge
    context = model.context(view, method, np.array([at.timestamp()]))
    block = features.matrix(context)
    return model.pooled(context, block, model.trees.log_hazard(block)), block


def _in_chance(values: Floats, low: float, high: float) -> Floats:
    """Shapley values in the chance of terms that lead from one log hazard to the other, (terms,).

    Over some orders of the terms and each of them backwards; in each they add up to the gap.
    """
    orders = np.argsort(np.random.default_rng(0).random((_ORDERS, len(values))), axis=1)
    orders = np.concatenate([orders, orders[:, ::-1]])
    steps = np.cumsum(values[orders], axis=1)
    steps[:, -1] = high - low  # to the last digit
    chance = as_chance(low + np.concatenate([np.zeros((len(steps), 1)), steps], axis=1))
    found = np.zeros(len(values))
    np.add.at(found, orders, np.diff(chance, axis=1))
    return found / len(orders)


def _compared(feature: features.Feature, ours: float, theirs: float) -> str:
    if feature.show is None:
        return feature.words
    here, there = feature.show(ours), feature.show(theirs)
    return f"{feature.words}: {here}" + (f" rather than {there}" if here != there else "")


# -- the cause, in words


def by_cause(view: CaseView, method: PaymentMethod, at: datetime) -> tuple[Reason, ...]:
    """The cause of the last decline on the method, and what may have mended it by then."""
    failures = failures_on(view, method)
    name = describe(method)
    if not failures:
        if method.changed_at is not None:
            return (Reason(text=f"the {name} was updated and has not been tried since"),)
        return (Reason(text=f"the {name} has not been declined in this case"),)
    last = failures[-1]
    reasons = [_cause(last, name, _same_in_a_row(failures))]
    if category_of(last) is Category.INSUFFICIENT_FUNDS:
        reasons.append(_payday_reason(view, method, at))
    if method.card_exp is not None and (at.year, at.month) > method.card_exp:
        reasons.append(Reason(text="the card has expired by then"))
    return tuple(reasons)


def _same_in_a_row(failures: Sequence[Attempt]) -> int:
    code = failures[-1].decline_code
    return len(list(takewhile(lambda a: a.decline_code == code, reversed(failures))))


def _cause(last: Attempt, name: str, times: int) -> Reason:
    code = last.decline_code or "a decline without a reason"
    often = "" if times == 1 else f", {times} times in a row"
    what = {
        Category.ISSUER_TRANSIENT: "a technical error that mends itself within hours",
        Category.INSUFFICIENT_FUNDS: "the account was empty",
        Category.ISSUER_RISK: "the bank gave no reason; such declines ease over days",
        Category.LIMITS: "a limit was reached that resets within days",
    }.get(category_of(last), "a cause that seldom goes away by itself")
    return Reason(text=f"the {name} was declined with {code}{often}: {what}")


def _payday_reason(view: CaseView, method: PaymentMethod, at: datetime) -> Reason:
    belief = cycle_belief(view, method)
    zone = zone_of(view.customer_timezone, view.customer_country)
    nearest: dict[str, float] = {}
    for cycle, share in belief.items():
        days = pay_cycle_days(view, cycle, at + timedelta(days=1))
        before = days[(days <= at.timestamp()) & (days > view.opened_at.timestamp())]
        if before.size:
            day = datetime.fromtimestamp(float(before[-1]), zone).strftime("%-d %b")
            nearest[day] = nearest.get(day, 0.0) + share
    where = view.customer_country or "this customer's country"
    if not nearest:
        return Reason(text="no payday lies in between; money also comes in from elsewhere")
    day, share = max(nearest.items(), key=lambda item: item[1])
    return Reason(text=f"payday around {day} for about {share:.0%} of people in {where}")


def describe(method: PaymentMethod) -> str:
    """A method in words, without a number: `default Visa debit card`."""
    kind = {"us_bank_account": "bank account"}.get(method.type, method.type.replace("_", " "))
    brand = {"visa": "Visa", "mastercard": "Mastercard", "amex": "Amex"}.get(
        method.card_brand or "", method.card_brand or ""
    )
    funding = method.card_funding if method.card_funding in ("credit", "debit", "prepaid") else ""
    role = "default" if method.is_default else "backup"
    return " ".join(word for word in (role, brand, funding, kind) if word)
