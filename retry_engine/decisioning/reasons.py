"""Why a charge is planned: the cause in words, and what tells it from the best alternative.

The points are of the learnt model; the documented prior explains itself in words alone.
"""

from collections.abc import Sequence
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
from retry_engine.decisioning.success_model import LearntModel
from retry_engine.domain.attempts import Attempt
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.codes import Category
from retry_engine.domain.decisions import Reason
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.timezones import zone_of

# A method and a moment.
Charge = tuple[PaymentMethod, datetime]

# Reasons with points of their own; what is left is summed up in one more.
_SHOWN = 5


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
    shown = [r for r in told if abs(r.points or 0.0) >= 0.5][:_SHOWN]
    rest = sum(r.points or 0.0 for r in told) - sum(r.points or 0.0 for r in shown)
    if abs(rest) >= 0.05:
        shown.append(Reason(text="everything else", points=rest))
    return (*general[:1], *shown)


def contrast(model: LearntModel, view: CaseView, one: Charge, two: Charge) -> tuple[Reason, ...]:
    """Why the chance of one charge is not that of another: points that add up to the gap.

    Shapley values are exact on the log hazard and rescaled to percentage points, which keeps
    their sum. Features that go by the same words are added up. Largest first.
    """
    asked = [(view, method, np.array([at.timestamp()])) for method, at in (one, two)]
    first, second = (float(chance[0]) for chance in model.success_probabilities(asked))
    ours, theirs = (features.matrix(model.context(*question)) for question in asked)
    values = model.calibrator.slope * model.trees.contributions(ours, theirs)
    place = features.column(features.PRIOR)
    values[place] += model.calibrator.prior_slope * float(ours[0, place] - theirs[0, place])
    whole = float(values.sum())
    if abs(whole) < 1e-9:
        return ()
    points: dict[str, float] = {}
    loudest: dict[str, tuple[float, str]] = {}
    for column, (feature, value) in enumerate(zip(features.features(), values, strict=True)):
        share = 100 * (first - second) * float(value) / whole
        points[feature.words] = points.get(feature.words, 0.0) + share
        text = _compared(feature, float(ours[0, column]), float(theirs[0, column]))
        if abs(share) >= loudest.get(feature.words, (0.0, ""))[0]:
            loudest[feature.words] = abs(share), text
    ordered = sorted(points.items(), key=lambda item: -abs(item[1]))
    return tuple(Reason(text=loudest[words][1], points=p) for words, p in ordered if p)


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
