"""The learnt success model: a one-interval hazard over attempt rows, as boosted survival trees.

    P(success | x) = 1 - exp(-exp(a + b f(x) + c g(x)))

`f` is the trees' log hazard (scikit-survival's gradient boosting with the Cox loss, trained in
`learning`), `g` the documented prior's. Where the log has little to say of such a charge so long
after a decline, the chance is drawn towards the prior's, moved by as much as the prior was off on
such charges at any time. This module only evaluates; it knows no training library.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Protocol

import numpy as np
import numpy.typing as npt

from retry_engine.decisioning import discounts, features
from retry_engine.decisioning.churn import UNKNOWN, ChurnHazard
from retry_engine.decisioning.discounts import Effects
from retry_engine.decisioning.features import FeatureContext, Rates
from retry_engine.decisioning.pay_cycles import PayCycles
from retry_engine.decisioning.prior import PriorModel
from retry_engine.domain import codes
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.payment_methods import PaymentMethod

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]

_PRIOR = PriorModel()
# Reasons with points of their own; what is left is summed up in one more.
_SHOWN = 5
# Hours since the last decline at which a group's rows are counted; between them it is interpolated.
GAPS = (6.0, 24.0, 72.0, 168.0, 400.0)


class Trees(Protocol):
    """An ensemble: the mean of its boosted trees' log hazards."""

    def log_hazard(self, rows: Matrix) -> Floats:
        """One log hazard a row."""

    def contributions(self, row: Matrix, background: Matrix) -> Floats:
        """Exact Shapley values, one a feature, of `log_hazard(row) - log_hazard(background)`."""


@dataclass(frozen=True, slots=True)
class Calibrator:
    """From log hazards to a calibrated chance."""

    intercept: float
    slope: float
    prior_slope: float

    def log_hazard(self, learnt: Floats, prior: Floats) -> Floats:
        """The log hazard of the two together."""
        return self.intercept + self.slope * learnt + self.prior_slope * prior


@dataclass(frozen=True, slots=True)
class LearntModel:
    """A trained success model; immutable, loaded once a process."""

    version: str
    trees: Trees
    calibrator: Calibrator
    rates: Rates
    pay_cycles: PayCycles
    group_rows: Mapping[str, Sequence[float]] = field(default_factory=dict)
    prior_rows: float = 40.0
    prior_offsets: Mapping[str, float] = field(default_factory=dict)
    damping: float = 0.98
    offer_effects: Effects = discounts.PRIOR
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
        contexts = [self.context(view, method, slots) for view, method, slots in asked]
        if not contexts:
            return []
        blocks = [features.matrix(context) for context in contexts]
        learnt = self.trees.log_hazard(np.concatenate(blocks))
        ends = list(accumulate(len(block) for block in blocks))
        parts = np.split(learnt, ends[:-1])
        return [
            self._chance(context, block, part)
            for context, block, part in zip(contexts, blocks, parts, strict=True)
        ]

    def _chance(self, context: FeatureContext, block: Matrix, learnt: Floats) -> Floats:
        prior = block[:, features.column(features.PRIOR)].astype(np.float64)
        own = self.calibrator.log_hazard(learnt, prior)
        weight = self.pooling_weight(context)
        return as_chance(
            weight * own + (1 - weight) * (prior + self.prior_offset(pooling_group(context)))
        )

    def prior_offset(self, name: str) -> float:
        """How far the prior's log hazard is off for such charges, 0 where nothing is known."""
        return self.prior_offsets.get(name, self.prior_offsets.get(name.partition(":")[0], 0.0))

    def pooling_weight(self, context: FeatureContext) -> Floats:
        """How far the log speaks of such charges, 0 to 1: rows seen over rows seen and a few."""
        seen = self.group_rows.get(pooling_group(context))
        if seen is None:
            return np.zeros(context.slots.shape)
        hours = np.maximum(context.slots - context.since.timestamp(), 0.0) / 3600.0
        rows = np.interp(np.log1p(hours), np.log1p(GAPS), np.asarray(seen, dtype=np.float64))
        weight: Floats = rows / (rows + self.prior_rows)
        return weight


def pooling_group(context: FeatureContext) -> str:
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
