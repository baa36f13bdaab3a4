from itertools import combinations
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sksurv.datasets import load_whas500
from sksurv.ensemble import GradientBoostingSurvivalAnalysis
from sksurv.ensemble.survival_loss import CoxPH
from sksurv.metrics import concordance_index_censored

from retry_engine.learning import trees


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(0, 10_000), st.integers(1, 8))
def test_the_sorted_loss_is_the_librarys(rows: int, seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.array(
        list(zip(rng.random(rows) < 0.6, rng.integers(1, levels + 1, rows), strict=True)),
        dtype=[("event", bool), ("time", float)],
    )
    score = rng.normal(size=(rows, 1))
    mine, shipped = trees.SortedCoxPH(), CoxPH()
    assert mine(y, score) == pytest.approx(shipped(y, score), abs=1e-9)
    np.testing.assert_allclose(mine.gradient(y, score), shipped.gradient(y, score), atol=1e-9)


def test_boosting_on_the_worcester_study_ranks_as_the_librarys_own() -> None:
    x, y = load_whas500()
    matrix = x.to_numpy(dtype=np.float64)
    setting = {"n_estimators": 60, "max_depth": 2, "random_state": 0}
    ours = trees.Boosting(**setting).fit(matrix, y)
    shipped = GradientBoostingSurvivalAnalysis(**setting).fit(matrix, y)
    np.testing.assert_allclose(ours.predict(matrix), shipped.predict(matrix), atol=1e-6)
    rank = concordance_index_censored(y["fstat"], y["lenfol"], ours.predict(matrix))[0]
    assert 0.75 < rank < 0.95


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
