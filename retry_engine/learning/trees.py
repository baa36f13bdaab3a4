"""Boosted survival trees: scikit-survival's gradient boosting on the likelihood of attempts.

An attempt shows only whether the card was chargeable then: current status, one interval a row. Its
exact likelihood is that of the grouped proportional hazards model (Prentice and Gloeckler 1978),

    P(success) = 1 - exp(-exp(f(x)))

The library's Cox loss is a Poisson approximation of it, takes every row to be at risk until the
last success of all, and compares every pair of rows at each tree. This one is linear in the rows,
and its leaves are Newton steps, which Cox's are not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import factorial
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble._gradient_boosting import predict_stages
from sklearn.tree._tree import Tree
from sksurv.ensemble import GradientBoostingSurvivalAnalysis
from sksurv.ensemble.survival_loss import CoxPH

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]

# Added to the information in each leaf: a leaf of few rows takes a smaller step.
_RIDGE = 3.0


class GroupedHazard(CoxPH):  # type: ignore[misc]  # the library has no types
    """The negative log likelihood of current status in one interval."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.start = start  # the log hazard before the first tree

    def __call__(self, y_true: Any, raw_prediction: Any, sample_weight: Any = None) -> float:
        """Its sum over all rows, `raw_prediction` (n, 1); the library's training score."""
        hazard = np.exp(self._score(raw_prediction))
        return float(-np.sum(np.where(y_true["event"], np.log(-np.expm1(-hazard)), -hazard)))

    def gradient(
        self, y_true: Any, raw_prediction: Any, sample_weight: Any = None, **_ignored: Any
    ) -> Floats:
        """Fisher scoring's working residual, (n,): the gradient over the information."""
        chance, slope = self._chance(raw_prediction)
        residual: Floats = (y_true["event"] - chance) / slope
        return residual

    def information(self, raw_prediction: Any) -> Floats:
        """Expected information about the log hazard, (n,)."""
        chance, slope = self._chance(raw_prediction)
        return slope**2 / (chance * (1.0 - chance))

    def update_terminal_regions(  # noqa: PLR0917 - the library's signature
        self, tree: Any, X: Any, y: Any, residual: Any, raw_predictions: Any,  # noqa: N803
        sample_weight: Any, sample_mask: Any, learning_rate: float = 0.1, k: int = 0,
    ) -> None:  # fmt: skip
        """A leaf's mean working residual, weighted by information, is its Newton step."""
        told = tree.weighted_n_node_samples
        tree.value[:, 0, 0] *= told / (told + _RIDGE)
        raw_predictions[:, k] += learning_rate * tree.predict(X)[:, 0]

    def _score(self, raw_prediction: Any) -> Floats:
        score = self.start + np.asarray(raw_prediction, dtype=np.float64).ravel()
        return np.clip(score, -8.0, 2.5)

    def _chance(self, raw_prediction: Any) -> tuple[Floats, Floats]:
        hazard = np.exp(self._score(raw_prediction))
        left = np.exp(-hazard)
        return 1.0 - left, hazard * left


class Boosting(GradientBoostingSurvivalAnalysis):  # type: ignore[misc]  # no types there
    """scikit-survival's boosting with the loss above; predictions leave the start out."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None, monitor: Any = None) -> Any:  # noqa: N803
        """Fit on rows (n, features) and outcomes as `outcome` gives them, (n,)."""
        self._start = float(np.log(-np.log1p(-np.clip(y["event"].mean(), 0.001, 0.999))))
        super().fit(X, y, sample_weight, monitor)
        return self

    def _get_loss(self, sample_weight: Any) -> Any:
        return GroupedHazard(self._start)

    def _fit_stage(
        self, i: int, X: Any, y: Any, raw_predictions: Any, sample_weight: Any,  # noqa: N803
        *rest: Any,
        **options: Any,
    ) -> Any:  # fmt: skip
        weight = sample_weight * self._loss.information(raw_predictions)
        return super()._fit_stage(i, X, y, raw_predictions, weight, *rest, **options)


def outcome(won: npt.NDArray[np.bool_]) -> Any:
    """A success (n,) is an event in the first interval; a failure is censored after it.

    As scikit-survival wants it: a structured array (n,) of (event, time).
    """
    times = np.where(won, 1.0, 2.0)
    return np.array(list(zip(won, times, strict=True)), dtype=[("event", bool), ("time", float)])


@dataclass(frozen=True)
class Ensemble:
    """Members are boosted models; their log hazards are averaged."""

    members: tuple[tuple[Tree, ...], ...]
    rate: float
    features: int

    @cached_property
    def _stages(self) -> Any:
        """All trees as the library's own loop over trees wants them."""
        trees = [[SimpleNamespace(tree_=tree)] for member in self.members for tree in member]
        return np.array(trees, dtype=object)

    def log_hazard(self, rows: Matrix) -> Floats:
        """One log hazard a row, (n,), of rows (n, features)."""
        total = np.zeros((len(rows), 1))
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        predict_stages(self._stages, rows, self.rate / len(self.members), total)
        return total[:, 0]

    def contributions(self, row: Matrix, background: Matrix) -> Floats:
        """Exact Shapley values (features,) of the gap between two rows, (1, features) each.

        Per leaf, the features on its path split into those where only `row` goes that way and those
        where only `background` does; the game of one leaf has a closed form (Lundberg et al. 2020,
        interventional TreeSHAP with one background row).
        """
        values = np.zeros(self.features)
        for member in self.members:
            for tree in member:
                _contrast(tree, row[0], background[0], values)
        return values * (self.rate / len(self.members))

    def states(self) -> list[list[dict[str, Any]]]:
        """The trees as plain arrays."""
        return [[tree.__getstate__() for tree in member] for member in self.members]


def of_boosting(fitted: Sequence[Boosting], *, rate: float, features: int) -> Ensemble:
    """The trees of fitted boostings, without the rest of them."""
    return Ensemble(
        members=tuple(tuple(tree.tree_ for tree in one.estimators_[:, 0]) for one in fitted),
        rate=rate,
        features=features,
    )


def tree_from(arrays: Mapping[str, Any], *, features: int) -> Tree:
    """A tree of checked arrays; ValueError where they describe no tree."""
    nodes, values = arrays["nodes"], arrays["values"]
    count = len(nodes)
    inner = nodes["left_child"] >= 0
    index = np.arange(count)
    sound = (
        count > 0
        and values.shape == (count, 1, 1)
        and np.isfinite(values).all()
        and (nodes["left_child"][inner] > index[inner]).all()
        and (nodes["right_child"][inner] > index[inner]).all()
        and (nodes["left_child"][inner] < count).all()
        and (nodes["right_child"][inner] < count).all()
        and (nodes["feature"][inner] >= 0).all()
        and (nodes["feature"][inner] < features).all()
        and not (nodes["right_child"][~inner] >= 0).any()
    )
    if not sound:
        raise ValueError("the arrays describe no tree")
    tree = Tree(features, np.array([1], dtype=np.intp), 1)
    tree.__setstate__(
        {
            "max_depth": int(arrays["max_depth"]),
            "node_count": count,
            "nodes": np.ascontiguousarray(nodes),
            "values": np.ascontiguousarray(values),
        }
    )
    return tree


def _contrast(tree: Tree, row: Matrix, background: Matrix, values: Floats) -> None:
    left, right = tree.children_left, tree.children_right
    feature, threshold, value = tree.feature, tree.threshold, tree.value[:, 0, 0]
    # node, features won by the row, features won by the background
    stack: list[tuple[int, frozenset[int], frozenset[int]]] = [(0, frozenset(), frozenset())]
    while stack:
        node, ours, theirs = stack.pop()
        if left[node] < 0:
            _share(float(value[node]), ours, theirs, values)
            continue
        name = int(feature[node])
        here = left[node] if row[name] <= threshold[node] else right[node]
        there = left[node] if background[name] <= threshold[node] else right[node]
        if here == there:
            stack.append((here, ours, theirs))
        else:
            if name not in theirs:
                stack.append((here, ours | {name}, theirs))
            if name not in ours:
                stack.append((there, ours, theirs | {name}))


def _share(value: float, ours: frozenset[int], theirs: frozenset[int], values: Floats) -> None:
    n, m = len(ours), len(theirs)
    if n:
        each = value * factorial(n - 1) * factorial(m) / factorial(n + m)
        for name in ours:
            values[name] += each
    if m:
        each = value * factorial(n) * factorial(m - 1) / factorial(n + m)
        for name in theirs:
            values[name] -= each
