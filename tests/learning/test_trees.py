import inspect
from itertools import combinations
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import _gradient_boosting
from sklearn.tree import _tree
from sksurv.ensemble import GradientBoostingSurvivalAnalysis
from sksurv.ensemble.survival_loss import CoxPH

from retry_engine.learning import trees


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(0, 10_000), st.floats(-4, 1))
def test_the_working_residual_times_information_is_the_losss_slope(
    rows: int, seed: int, start: float
) -> None:
    rng = np.random.default_rng(seed)
    y = trees.outcome(rng.random(rows) < 0.4)
    score = rng.uniform(-2, 1, size=(rows, 1))
    loss = trees.GroupedHazard(start)
    slope = loss.gradient(y, score) * loss.information(score)
    for row in range(rows):
        step = np.zeros((rows, 1))
        step[row] = 1e-5
        measured = (loss(y, score - step) - loss(y, score + step)) / 2e-5
        assert slope[row] == pytest.approx(measured, abs=1e-4)


def test_trees_that_learn_nothing_leave_the_share_of_successes() -> None:
    won = np.random.default_rng(1).random(2000) < 0.3
    same = np.zeros((2000, 3), dtype=np.float32)
    fitted = trees.Boosting(n_estimators=5, max_depth=2, random_state=0).fit(
        same, trees.outcome(won)
    )
    np.testing.assert_allclose(fitted.predict(same), 0.0, atol=1e-9)


def test_boosting_finds_the_hazard_that_made_the_attempts() -> None:
    rng = np.random.default_rng(2)
    x = rng.uniform(-1, 1, size=(8000, 4)).astype(np.float32)
    truth = -1.0 + 1.2 * (x[:, 0] > 0) * x[:, 1]
    won = rng.random(8000) < -np.expm1(-np.exp(truth))
    fitted = trees.Boosting(
        n_estimators=80, max_depth=3, learning_rate=0.1, subsample=0.7, random_state=0
    ).fit(x, trees.outcome(won))
    start = np.log(-np.log1p(-won.mean()))
    assert np.corrcoef(fitted.predict(x), truth)[0, 1] > 0.93
    assert np.abs(fitted.predict(x) + start - truth).mean() < 0.15


@pytest.fixture(scope="module")
def ensemble() -> trees.Ensemble:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(600, 5)).astype(np.float32)
    won = rng.random(600) < 1 / (1 + np.exp(-x[:, 0] * x[:, 1] - x[:, 2]))
    setting = {"n_estimators": 12, "max_depth": 3, "learning_rate": 0.2}
    fitted = [trees.Boosting(**setting, random_state=i).fit(x, trees.outcome(won)) for i in (1, 2)]
    return trees.of_boosting(fitted, rate=0.2, features=5)


def test_contributions_are_the_shapley_values_of_all_coalitions(ensemble: trees.Ensemble) -> None:
    rng = np.random.default_rng(8)
    for _ in range(10):
        row, other = (rng.normal(size=(1, 5)).astype(np.float32) for _ in range(2))
        got = ensemble.contributions(row, other)
        np.testing.assert_allclose(got, _by_definition(ensemble, row, other), atol=1e-9)
        gap = ensemble.log_hazard(row)[0] - ensemble.log_hazard(other)[0]
        assert got.sum() == pytest.approx(gap, abs=1e-9)


def _by_definition(ensemble: trees.Ensemble, row: np.ndarray, other: np.ndarray) -> np.ndarray:
    n = row.shape[1]
    values = np.zeros(n)
    for name in range(n):
        rest = [i for i in range(n) if i != name]
        for size in range(n):
            weight = factorial(size) * factorial(n - size - 1) / factorial(n)
            for chosen in combinations(rest, size):
                with_it, without = other.copy(), other.copy()
                without[0, list(chosen)] = row[0, list(chosen)]
                with_it[0, [*chosen, name]] = row[0, [*chosen, name]]
                gain = ensemble.log_hazard(with_it) - ensemble.log_hazard(without)
                values[name] += weight * gain[0]
    return values


def test_the_libraries_private_names_that_this_engine_stands_on_are_as_they_were() -> None:
    """A new release that moves one fails here, by name, and not in somebody's training."""
    for method, own, wanted in (
        ("_fit_stage", "_fit_stage", ["i", "X", "y", "raw_predictions", "sample_weight"]),
        ("_get_loss", "_get_loss", ["sample_weight"]),
    ):
        theirs = inspect.signature(getattr(GradientBoostingSurvivalAnalysis, method))
        assert list(theirs.parameters)[1 : len(wanted) + 1] == wanted
        assert getattr(trees.Boosting, own) is not getattr(GradientBoostingSurvivalAnalysis, method)
    theirs = inspect.signature(CoxPH.update_terminal_regions)
    ours = inspect.signature(trees.GroupedHazard.update_terminal_regions)
    assert list(theirs.parameters) == list(ours.parameters)
    for name in ("gradient", "__call__"):
        assert list(inspect.signature(getattr(CoxPH, name)).parameters)[:3] == [
            "self", "y_true", "raw_prediction",
        ]  # fmt: skip
    assert callable(_gradient_boosting.predict_stages)
    rng = np.random.default_rng(0)
    x, won = rng.random((200, 2)).astype(np.float32), rng.random(200) < 0.5
    fitted = trees.Boosting(n_estimators=1, max_depth=2, random_state=0)
    fitted.fit(x, trees.outcome(won))
    assert isinstance(fitted._loss, trees.GroupedHazard)  # noqa: SLF001  # scikit-learn's, used by us
    tree = fitted.estimators_[0, 0].tree_
    assert isinstance(tree, _tree.Tree)
    state = tree.__getstate__()
    assert {"max_depth", "node_count", "nodes", "values"} <= set(state)
    assert {"left_child", "right_child", "feature", "threshold", "missing_go_to_left"} <= set(
        state["nodes"].dtype.names
    )
