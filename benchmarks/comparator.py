"""A LightGBM on the same rows, with the same planner: what the survival formulation must beat."""

from dataclasses import replace

import lightgbm
import numpy as np

from retry_engine.decisioning.prior import log_hazard
from retry_engine.decisioning.success_model import Calibrator
from retry_engine.evaluation import LearntPolicy, policy_of
from retry_engine.learning import training
from retry_engine.learning.training import Trained

_FOLDS = 3


class Boosters:
    """LightGBM classifiers behind the interface of our trees: their mean log hazard."""

    def __init__(self, members: list[lightgbm.Booster]) -> None:
        self.members = members

    def log_hazard(self, rows: np.ndarray) -> np.ndarray:
        each = [log_hazard(np.asarray(m.predict(rows))) for m in self.members]
        mean: np.ndarray = np.mean(each, axis=0)
        return mean

    def contributions(self, row: np.ndarray, background: np.ndarray) -> np.ndarray:
        raise NotImplementedError("the comparator explains nothing")


def comparator(ours: Trained, *, seed: int) -> LearntPolicy:
    """The comparator's policy: rows, folds, recalibration and planner are ours."""
    rows = ours.rows
    fold = np.random.default_rng(seed).integers(0, _FOLDS, rows.case.max() + 1)[rows.case]
    members, learnt = [], np.zeros(len(rows.won))
    options = {
        "objective": "binary", "num_leaves": 31, "learning_rate": 0.05, "min_data_in_leaf": 40,
        "feature_fraction": 0.5, "bagging_fraction": 0.7, "bagging_freq": 1, "verbose": -1,
        "seed": seed, "num_threads": 2, "deterministic": True,
    }  # fmt: skip
    for number in range(_FOLDS):
        inside = fold != number
        data = lightgbm.Dataset(rows.x[inside], rows.won[inside].astype(float))
        booster = lightgbm.train(options, data, num_boost_round=200)
        members.append(booster)
        learnt[~inside] = log_hazard(np.asarray(booster.predict(rows.x[~inside])))
    fitted = training.fit_calibrator(learnt, np.zeros(len(learnt)), rows.won)
    calibrator = Calibrator(fitted.intercept, fitted.slope, 0.0)
    sure = {key: [1e12] * len(value) for key, value in rows.group_rows.items()}
    model = replace(
        ours.model,
        version="lightgbm",
        trees=Boosters(members),
        calibrator=calibrator,
        group_rows=sure,
    )
    return LearntPolicy(policy_of(None), model, rows.record)
