"""The learnt success model: a one-interval hazard over attempt rows, as boosted survival trees.

    P(success | x) = 1 - exp(-exp(a + b f(x) + c g(x)))

`f` is the trees' log hazard (scikit-survival's gradient boosting with the Cox loss, trained in
`learning`), `g` the documented prior's. Where the log has little to say of such a charge so long
after a decline, the chance is drawn towards the prior's, moved by as much as the prior was off on
such charges at any time. This module only evaluates; it knows no training library.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Protocol

import numpy as np
import numpy.typing as npt

from retry_engine.decisioning import features, offers
from retry_engine.decisioning.churn import UNKNOWN, ChurnHazard
from retry_engine.decisioning.features import FeatureContext, Rates
from retry_engine.decisioning.offers import Effects
from retry_engine.decisioning.pay_cycles import PayCycles
from retry_engine.decisioning.prior import Charge, PriorModel
from retry_engine.domain import codes
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.decisions import Reason
from retry_engine.domain.payment_methods import PaymentMethod

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]

_PRIOR = PriorModel()
# Reasons with points of their own; what is left is summed up in one more.
_SHOWN = 5
# Hours since the last decline at which support is counted; between them it is interpolated.
GAPS = (6.0, 24.0, 72.0, 168.0, 400.0)


class Trees(Protocol):
    """An ensemble: the mean of its boosted trees' log hazards."""

    def log_hazard(self, rows: Matrix) -> Floats:
        """One log hazard a row."""

    def contributions(self, row: Matrix, background: Matrix) -> Floats:
        """Exact Shapley values, one a feature, of `log_hazard(row) - log_hazard(background)`."""


@dataclass(frozen=True, slots=True)
class Link:
    """From log hazards to a calibrated chance."""

    intercept: float
    slope: float
    prior_slope: float

    def scale(self, learnt: Floats, prior: Floats) -> Floats:
        """The log hazard of the two together."""
        return self.intercept + self.slope * learnt + self.prior_slope * prior


@dataclass(frozen=True, slots=True)
class LearntModel:
    """A trained success model; immutable, loaded once a process."""

    version: str
    trees: Trees
    link: Link
    rates: Rates
    pay_cycles: PayCycles
    support: Mapping[str, Sequence[float]] = field(default_factory=dict)
    support_weight: float = 40.0
    offsets: Mapping[str, float] = field(default_factory=dict)
    damping: float = 0.98
    offer_effects: Effects = offers.PRIOR
    churn: ChurnHazard = UNKNOWN

    def context(self, view: CaseView, method: PaymentMethod, slots: Floats) -> FeatureContext:
        """What the features are computed from."""
        return FeatureContext(view, method, slots, self.rates, self.pay_cycles)

    def success_probability(self, view: CaseView, method: PaymentMethod, slots: Floats) -> Floats:
        """One calibrated chance per slot."""
        return self.success_probabilities([(view, method, slots)])[0]

    def success_probabilities(
        self, asked: Sequence[tuple[CaseView, PaymentMethod, Floats]]
    ) -> list[Floats]:
        """The same for many at once, with one pass through the trees."""
        scenes = [self.context(view, method, slots) for view, method, slots in asked]
        if not scenes:
            return []
        blocks = [features.matrix(context) for context in scenes]
        learnt = self.trees.log_hazard(np.concatenate(blocks))
        ends = list(accumulate(len(block) for block in blocks))
        parts = np.split(learnt, ends[:-1])
        return [
            self._chance(context, block, part)
            for context, block, part in zip(scenes, blocks, parts, strict=True)
        ]

    def _chance(self, context: FeatureContext, block: Matrix, learnt: Floats) -> Floats:
        prior = block[:, features.column(features.PRIOR)].astype(np.float64)
        own = self.link.scale(learnt, prior)
        trust = self.trust(context)
        return as_chance(trust * own + (1 - trust) * (prior + self.offset(segment(context))))

    def offset(self, name: str) -> float:
        """How far the prior's log hazard is off for such charges, 0 where nothing is known."""
        return self.offsets.get(name, self.offsets.get(name.partition(":")[0], 0.0))

    def trust(self, context: FeatureContext) -> Floats:
        """How far the log speaks of such charges, 0 to 1: rows seen over rows seen and a few."""
        seen = self.support.get(segment(context))
        if seen is None:
            return np.zeros(context.slots.shape)
        hours = np.maximum(context.slots - context.since.timestamp(), 0.0) / 3600.0
        rows = np.interp(np.log1p(hours), np.log1p(GAPS), np.asarray(seen, dtype=np.float64))
        trust: Floats = rows / (rows + self.support_weight)
        return trust

    def reasons(
        self, view: CaseView, method: PaymentMethod, at: datetime, other: Charge | None
    ) -> tuple[Reason, ...]:
        """What tells that charge from the other, in words and points, after the prior's words."""
        general = tuple(Reason(text=r.text) for r in _PRIOR.reasons(view, method, at)[:1])
        if other is None:
            return general
        told = self.contrast(view, (method, at), other)
        shown = [r for r in told if abs(r.points or 0.0) >= 0.5][:_SHOWN]
        rest = sum(r.points or 0.0 for r in told) - sum(r.points or 0.0 for r in shown)
        if abs(rest) >= 0.05:
            shown.append(Reason(text="everything else", points=rest))
        return (*general, *shown)

    def contrast(self, view: CaseView, one: Charge, two: Charge) -> tuple[Reason, ...]:
        """Why the chance of one charge is not that of another: points that add up to the gap.

        Shapley values are exact on the log hazard and rescaled to percentage points, which keeps
        their sum. Features that go by the same words are added up. Largest first.
        """
        asked = [(view, method, np.array([at.timestamp()])) for method, at in (one, two)]
        first, second = (float(chance[0]) for chance in self.success_probabilities(asked))
        ours, theirs = (features.matrix(self.context(*question)) for question in asked)
        values = self.link.slope * self.trees.contributions(ours, theirs)
        place = features.column(features.PRIOR)
        values[place] += self.link.prior_slope * float(ours[0, place] - theirs[0, place])
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


def segment(context: FeatureContext) -> str:
    """What a charge has in common with those that the log holds."""
    tried = "tried" if context.here else "fresh"
    first = context.view.first_failure
    category = context.category
    if not context.here:
        category = codes.lookup(first.decline_code if first else None).category
    return f"{tried}:{category}"


def as_chance(log_hazard: Floats) -> Floats:
    """The chance of a log hazard, at most 0.97."""
    chance: Floats = -np.expm1(-np.exp(np.minimum(log_hazard, 3.0)))
    return np.clip(chance, 0.0, 0.97)
