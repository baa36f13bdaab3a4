"""Boosted survival trees: scikit-survival's gradient boosting, with a Cox loss that scales.

scikit-survival's own loss compares every pair of rows at each tree. A sort and two cumulative sums
give the same numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import factorial
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.tree._tree import Tree
from sksurv.ensemble import GradientBoostingSurvivalAnalysis
from sksurv.ensemble.survival_loss import CoxPH

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]


class SortedCoxPH(CoxPH):  # type: ignore[misc]  # the library has no types
    """The negative log partial likelihood (Breslow's ties), in O(n log n)."""

    def __call__(self, y_true: Any, raw_prediction: Any, sample_weight: Any = None) -> float:
        event, at_risk, _, score = _risk_sets(y_true, raw_prediction)
        total = np.sum(score[event] - np.log(at_risk[event]))
        return float(-total)

    def gradient(
        self, y_true: Any, raw_prediction: Any, sample_weight: Any = None, **_ignored: Any
    ) -> Floats:
        """The negative gradient, one a row."""
        event, _, hazard, score = _risk_sets(y_true, raw_prediction)
        result: Floats = event.astype(np.float64) - np.exp(score) * hazard
        return result if sample_weight is None else result * sample_weight


def _risk_sets(y_true: Any, raw_prediction: Any) -> tuple[Any, Any, Any, Floats]:
    event, time = y_true["event"].astype(bool), y_true["time"]
    score = np.asarray(raw_prediction, dtype=np.float64).ravel()
    times, index = np.unique(time, return_inverse=True)
    sums = np.bincount(index, weights=np.exp(score), minlength=len(times))
    at_risk = np.cumsum(sums[::-1])[::-1]
    deaths = np.bincount(index, weights=event.astype(np.float64), minlength=len(times))
    cumulative = np.cumsum(deaths / at_risk)
    return event, at_risk[index], cumulative[index], score


class Boosting(GradientBoostingSurvivalAnalysis):  # type: ignore[misc]  # no types there
    """scikit-survival's boosting with the loss above."""

    def _get_loss(self, sample_weight: Any) -> Any:
        return SortedCoxPH()


def outcome(won: npt.NDArray[np.bool_]) -> Any:
    """A success is an event in the first interval; a failure is censored after it."""
    times = np.where(won, 1.0, 2.0)
    return np.array(list(zip(won, times, strict=True)), dtype=[("event", bool), ("time", float)])


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Members are boosted models; their log hazards are averaged."""

    members: tuple[tuple[Tree, ...], ...]
    rate: float
    features: int

    def log_hazard(self, rows: Matrix) -> Floats:
        """One log hazard a row."""
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        total = np.zeros(len(rows))
        for member in self.members:
            for tree in member:
                total += tree.predict(rows)[:, 0]
        return total * (self.rate / len(self.members))

    def contributions(self, row: Matrix, background: Matrix) -> Floats:
        """Exact Shapley values of the gap between two rows.

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
