"""The model card: what a model was made from, and how far it can be trusted."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from sksurv.metrics import concordance_index_censored, concordance_index_ipcw

from retry_engine.learning.training import Rows, Trained
from retry_engine.learning.trees import outcome
from retry_engine.mind import features
from retry_engine.mind.hazard import LearntModel

Floats = npt.NDArray[np.float64]
_BINS = 10


def of_training(trained: Trained) -> dict[str, Any]:
    """The card of a new model; its figures are out of fold, on cases the trees had not seen."""
    return {
        "version": trained.model.version,
        "judged_on": "cases held out of each fold",
        **_data(trained.rows),
        **judge(trained.chance, trained.rows.won),
        "top_features": top_features(trained.model, trained.rows),
        "not_measured": ["value of the policy on the log (benchmarks/policy_value.py plays it)"],
    }


def _data(rows: Rows) -> dict[str, Any]:
    return {
        "from": _text(rows.at.min()),
        "to": _text(rows.at.max()),
        "retries_in_log": rows.retries,
        "retries_used": len(rows.won),
        "cases": int(rows.case.max()) + 1,
        "share_succeeded": round(float(rows.won.mean()), 4),
    }


def judge(chance: Floats, won: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Concordance (Harrell and Uno, one interval), Brier score and calibration by decile."""
    y = outcome(won)
    return {
        "concordance": round(float(concordance_index_censored(y["event"], y["time"], chance)[0]), 4)
        if 0 < won.sum() < len(won)
        else None,
        "concordance_uno": _uno(y, chance),
        "brier": round(float(np.mean((chance - won) ** 2)), 4),
        "calibration": calibration(chance, won),
    }


def _uno(y: Any, chance: Floats, most: int = 10_000) -> float | None:
    # pairs grow with the square of the rows
    y, chance = y[:most], chance[:most]
    if not 0 < y["event"].sum() < len(y):
        return None
    return round(float(concordance_index_ipcw(y, y, chance)[0]), 4)


def calibration(chance: Floats, won: npt.NDArray[np.bool_]) -> list[dict[str, float]]:
    """By tenth of the chance: how many, what was promised, what came."""
    order = np.argsort(chance, kind="stable")
    return [
        {
            "attempts": len(part),
            "promised": round(float(chance[part].mean()), 4),
            "came": round(float(won[part].mean()), 4),
        }
        for part in np.array_split(order, _BINS)
        if len(part)
    ]


def top_features(model: LearntModel, rows: Rows, most: int = 12) -> list[dict[str, Any]]:
    """Features by the mean size of their Shapley values between pairs of retries."""
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, len(rows.won), (min(60, len(rows.won)), 2))
    sizes = np.mean(
        [np.abs(model.trees.contributions(rows.x[[a]], rows.x[[b]])) for a, b in pairs], axis=0
    )
    named = sorted(zip(features.features(), sizes, strict=True), key=lambda pair: -pair[1])
    return [
        {"feature": f.name, "meaning": f.doc, "mean_effect": round(float(size), 4)}
        for f, size in named[:most]
    ]


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(float(seconds), UTC).isoformat()
