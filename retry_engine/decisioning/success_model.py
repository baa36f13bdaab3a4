"""The learnt success model: a one-interval hazard over attempt rows, as boosted survival trees.

    P(success | x) = 1 - exp(-exp(w (a + b f(x) + c g(x)) + (1 - w) (g(x) + d)))

`f` is the trees' log hazard (scikit-survival's gradient boosting on the likelihood of the grouped
proportional hazards model, trained in `learning.trees`), `g` the documented prior's. Where the log
has little to say of such a charge so long after a decline, `w` is small: partial pooling, the log
hazard shrinks towards the prior's, moved by as much (`d`) as the prior was off on such charges at
any time. This module only evaluates; it knows no training library.
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
        """One log hazard a row, (n,), of rows (n, features)."""

    def contributions(self, row: Matrix, background: Matrix) -> Floats:
        """Exact Shapley values (features,) of `log_hazard(row) - log_hazard(background)`.

        `row` and `background` are (1, features) each.
        """


@dataclass(frozen=True, slots=True)
class Calibrator:
    """From log hazards to the log hazard of a calibrated chance: linear, fitted out of fold."""

    intercept: float
    slope: float
    prior_slope: float

    def log_hazard(self, learnt: Floats, prior: Floats) -> Floats:
        """The log hazard of the two together, (n,) of (n,) each."""
        return self.intercept + self.slope * learnt + self.prior_slope * prior


@dataclass(frozen=True, slots=True)
class Pooled:
    """What a chance is made of: `learnt`, `prior` and `weight` (slots,), and the prior's `offset`.

    `learnt` is the trees' log hazard, `prior` the documented one; `weight`, 0 to 1, is how far the
    log decides. All of the chance is here, so that what explains it explains what was decided by.
    """

    calibrator: Calibrator
    learnt: Floats
    prior: Floats
    weight: Floats
    offset: float

    @property
    def own(self) -> Floats:
        """What the log would say by itself, (slots,)."""
        return self.calibrator.log_hazard(self.learnt, self.prior)

    @property
    def log_hazard(self) -> Floats:
        """The two together, (slots,)."""
        return self.weight * self.own + (1 - self.weight) * (self.prior + self.offset)


@dataclass(frozen=True, slots=True)
class LearntModel:
    """A trained success model; immutable, loaded once a process.

    `group_rows`: per pooling group the rows that the log holds, one count for each of `GAPS`.
    `prior_rows`: how many rows the prior is worth against them. `prior_offsets`: how far the
    prior's log hazard is off, per pooling group. `damping`: what later chances are multiplied with
    for each failure that is only assumed.
    """

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
        """What the features are computed from, at slots (slots,), UTC epoch seconds."""
        return FeatureContext(view, method, slots, self.rates, self.pay_cycles)

    def success_probability(self, view: CaseView, method: PaymentMethod, slots: Floats) -> Floats:
        """The calibrated chance at each of the slots (UTC epoch seconds), (slots,), 0 to 0.97."""
        return self.success_probabilities([(view, method, slots)])[0]

    def success_probabilities(
        self, asked: Sequence[tuple[CaseView, PaymentMethod, Floats]]
    ) -> list[Floats]:
        """The same for many at once, (slots,) each, with one pass through the trees."""
        contexts = [self.context(view, method, slots) for view, method, slots in asked]
        if not contexts:
            return []
        blocks = [features.matrix(context) for context in contexts]
        learnt = self.trees.log_hazard(np.concatenate(blocks))
        ends = list(accumulate(len(block) for block in blocks))
        parts = np.split(learnt, ends[:-1])
        return [
            as_chance(self.pooled(context, block, part).log_hazard)
            for context, block, part in zip(contexts, blocks, parts, strict=True)
        ]

    def pooled(self, context: FeatureContext, block: Matrix, learnt: Floats) -> Pooled:
        """What the chances of a context are made of.

        `block` (slots, features) is its matrix, `learnt` (slots,) the trees' log hazard of that.
        """
        return Pooled(
            calibrator=self.calibrator,
            learnt=learnt,
            prior=block[:, features.column(features.PRIOR)].astype(np.float64),
            weight=self.pooling_weight(context),
            offset=self.prior_offset(pooling_group(context)),
        )

    def prior_offset(self, name: str) -> float:
        """How far the prior's log hazard is off for such charges, 0 where nothing is known."""
        return self.prior_offsets.get(name, self.prior_offsets.get(name.partition(":")[0], 0.0))

    def pooling_weight(self, context: FeatureContext) -> Floats:
        """How far the log speaks of such charges, (slots,), 0 to 1: rows / (rows + prior_rows)."""
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
    """The chance of a log hazard, (n,) of (n,), at most 0.97."""
    chance: Floats = -np.expm1(-np.exp(np.minimum(log_hazard, 3.0)))
    return np.clip(chance, 0.0, 0.97)
