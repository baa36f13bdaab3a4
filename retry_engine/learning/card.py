"""The model card: what a model was made from, and how far it can be trusted."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from retry_engine.decisioning import features
from retry_engine.decisioning.churn import AGES, ChurnHazard
from retry_engine.decisioning.success_model import LearntModel
from retry_engine.domain.errors import CannotLearn
from retry_engine.domain.policy import Policy
from retry_engine.learning import backtest, metrics, replay, split
from retry_engine.learning.training import OnProgress, Rows, Trained

Floats = npt.NDArray[np.float64]
Document = dict[str, Any]

_MOST_JUDGED = 2000


def of_training(
    trained: Trained,
    log: pd.DataFrame,
    *,
    policy: Policy,
    seed: int,
    on_progress: OnProgress = lambda _: None,
) -> Document:
    """The card of a new model.

    Its own figures are out of fold, on cases the trees had not seen. Those under `later` and the
    backtest are of the same kind of model refit on earlier cases, and judged on the ones after.
    """
    rows, ended = trained.rows, metrics.ends(log)
    on_progress("judging: folds, later cases, backtest")
    return {
        "version": trained.model.version,
        "judged_on": "cases held out of each fold",
        **_data(rows),
        **metrics.judge(trained.chance, rows.won),
        "integrated_brier": metrics.integrated_brier(
            trained.chance, rows.won, rows.at, _ids(rows), ended
        ),
        "ends_in_30_days": metrics.cumulative_incidence(ended),
        "leaving": _churn_hazards(rows.churn, policy.value.churn_per_day),
        **_afterwards(log, rows, ended, policy=policy, seed=seed, on_progress=on_progress),
        "top_features": top_features(trained.model, rows),
    }


def _afterwards(
    log: pd.DataFrame,
    rows: Rows,
    ended: pd.DataFrame,
    *,
    policy: Policy,
    seed: int,
    on_progress: OnProgress,
) -> Document:
    """The split by time and the backtest on it, or why there is none."""
    try:
        parted = split.by_time(log, rows, seed=seed)
    except CannotLearn as why:
        return {"not_measured": [f"later cases and the backtest: the earlier cases alone: {why}"]}
    later = {
        "judged_on": f"cases opened from {parted.cut:%Y-%m-%d} on; model refit on the "
        f"{parted.earlier_cases} before",
        **of_later(log, parted.earlier.model, since=parted.cut, ended=ended, seed=seed),
    }
    decided_by = f"this kind of model, refit on {parted.earlier_cases} earlier cases"
    return {"later": later} | of_policy(
        log, rows, parted.earlier.model, since=parted.cut, policy=policy, seed=seed,
        decided_by=decided_by, on_progress=on_progress,
    )  # fmt: skip


def of_later(
    log: pd.DataFrame, model: LearntModel, *, since: datetime, ended: pd.DataFrame, seed: int
) -> Document:
    """A stored model on the cases opened from then on: each retry as the model would have put it.

    At most about 2,000 retries, whole cases drawn by seed.
    """
    opened = ended.index[ended["opened"] >= since]
    return score(log, model, set(opened), ended=ended, seed=seed)


def score(
    log: pd.DataFrame, model: LearntModel, invoices: set[str], *, ended: pd.DataFrame, seed: int
) -> Document:
    """A model on the retries of some invoices; nothing is fitted."""
    mine = log[log["invoice_id"].isin(invoices)]
    retries = max(len(mine) - len(invoices), 1)
    drawn = invoices
    if retries > _MOST_JUDGED:
        rng = np.random.default_rng([seed, 74])
        names = np.array(sorted(invoices), dtype=object)
        drawn = set(rng.permutation(names)[: int(len(names) * _MOST_JUDGED / retries)])
    found = [r for r in replay.walk(log) if r.view.case_id in drawn]
    if not found:
        return {"retries": 0}
    at = np.array([r.attempt.at.timestamp() for r in found])
    asked = [(r.view, r.method, at[i : i + 1]) for i, r in enumerate(found)]
    chance = np.concatenate(model.success_probabilities(asked))
    won = np.array([r.won for r in found], dtype=bool)
    ids = np.array([r.view.case_id for r in found], dtype=object)
    return {
        "retries": len(found),
        "cases": len(set(ids)),
        "share_succeeded": round(float(won.mean()), 4),
        **metrics.judge(chance, won),
        "integrated_brier": metrics.integrated_brier(chance, won, at, ids, ended),
        "ends_in_30_days": metrics.cumulative_incidence(ended.loc[ended.index.isin(invoices)]),
    }


def of_policy(
    log: pd.DataFrame, rows: Rows, model: LearntModel, *, since: datetime, policy: Policy,
    seed: int, decided_by: str, on_progress: OnProgress = lambda _: None,
) -> Document:  # fmt: skip
    """The backtest, or why there is none."""
    try:
        played = backtest.run(
            log, rows, model=model, since=since, policy=policy, seed=seed, decided_by=decided_by,
            on_progress=on_progress,
        )  # fmt: skip
    except CannotLearn as why:
        return {"not_measured": [f"the backtest: of the later cases: {why}"]}
    return {"backtest": played.card}


def _data(rows: Rows) -> Document:
    return {
        "from": _text(rows.at.min()),
        "to": _text(rows.at.max()),
        "retries_in_log": rows.retries,
        "retries_used": len(rows.won),
        "cases": len(rows.ids),
        "share_succeeded": round(float(rows.won.mean()), 4),
    }


def _churn_hazards(learnt: ChurnHazard, expected: float) -> list[Document]:
    """Share of customers a day that leave, from each age of a case on; the log's own counts."""
    return [
        {
            "from_day": int(age),
            "share_a_day": round(float(share), 4),
            "left": int(left),
            "open_days": round(days),
        }
        for age, share, left, days in zip(
            AGES, learnt.hazards(expected), learnt.left, learnt.days, strict=True
        )
    ]


def _ids(rows: Rows) -> npt.NDArray[Any]:
    ids: npt.NDArray[Any] = np.array(rows.ids, dtype=object)[rows.case]
    return ids


def top_features(model: LearntModel, rows: Rows, most: int = 12) -> list[Document]:
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


def below_the_prior(card: Mapping[str, Any]) -> str | None:
    """Why a model had better not decide by itself; None where its backtest does not speak against.

    The backtest leans to the learnt policy: whole intervals below the prior are a clear word.
    """
    backtest = card.get("backtest") or {}
    found = (backtest.get("differences") or {}).get("learnt - prior")
    if not found or found["high"] >= 0:
        return None
    unit = backtest.get("unit", "minor units")
    return (
        f"{card['version']} is stored and not promoted: its backtest has it below the prior, "
        f"{found['net_per_case']:+} {unit} a case ({found['low']:+} to {found['high']:+}); "
        "`retry-engine model promote` lets it decide all the same"
    )
