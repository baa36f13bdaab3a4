"""Whether the world has moved away from what a model was trained on.

Three questions, each with a verdict (ok, watch, retrain): do the retries look like those of the
training data, does what the planner was promised come true, and is the model as sharp as it was.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import chi2

from retry_engine.decisioning import features
from retry_engine.decisioning.features import FeatureContext, Rates
from retry_engine.decisioning.success_model import LearntModel, pooling_group
from retry_engine.domain.errors import CannotLearn
from retry_engine.learning import metrics, replay, training
from retry_engine.learning.training import Rows, Trained

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Document = dict[str, Any]

OK, WATCH, RETRAIN = "ok", "watch", "retrain"
THRESHOLDS = {
    "features": "population stability index of the model's top features, where beyond chance "
    "(95 %) and 1.5 times what 30 days of the training data differed by: above 0.1 watch, above "
    "0.25 retrain",
    "segments": "share of retries of a kind with fewer than 25 in training: above 5 % watch, "
    "above 15 % retrain",
    "codes": "share of declines with codes not in training: above 1 % watch, above 5 % retrain",
    "promises": "chances promised less what came, where the 95 % interval excludes 0: above 3 "
    "points watch, above 8 retrain; under 50 attempts nothing is told",
    "brier": "Brier score above that of training by more than twice its error: by 0.02 watch, by "
    "0.05 retrain; under 50 retries nothing is told",
}
_BINS = 10
_MONTH, _WINDOWS = 30 * 86_400.0, 6
_RARE = 25.0
_ENOUGH = 50
_MOST_RETRIES = 3000


def reference(trained: Trained, log: pd.DataFrame) -> Document:
    """What drift is measured against, bounded: shares by bin of each feature, kinds, codes."""
    rows = trained.rows
    month = ((rows.at.max() - rows.at) // _MONTH).astype(np.int64)
    windows = [month == n for n in range(_WINDOWS) if (month == n).sum() >= _ENOUGH]
    return {
        "retries": len(rows.won),
        "brier": round(float(np.mean((trained.chance - rows.won) ** 2)), 6),
        "features": {
            f.name: _bins(rows.x[:, column].astype(np.float64), windows)
            for column, f in enumerate(features.features())
        },
        "segments": {name: round(float(sum(n)), 1) for name, n in rows.group_rows.items()},
        "codes": sorted(code for code in set(log["decline_code"]) if code)[:500],
    }


def _bins(values: Floats, windows: Sequence[Bools]) -> Document:
    """At most ten bins: of values where there are few, else of quantiles.

    `usual`: the most that one of the windows differed by from the whole. Rates that run along and
    days of the month differ in any 30 days.
    """
    known = np.unique(values)
    edges = (
        (known[1:] + known[:-1]) / 2
        if len(known) <= _BINS
        else np.unique(np.quantile(values, np.arange(1, _BINS) / _BINS))
    )
    # rounded before they are counted by: many values lie on an edge
    edges = np.array([float(f"{edge:.6g}") for edge in edges])
    shares = _shares(values, edges)
    usual = max((_psi(values[w], edges, shares) for w in windows), default=0.0)
    return {
        "edges": edges.tolist(),
        "shares": [round(float(s), 6) for s in shares],
        "usual": round(usual, 4),
    }


def _psi(values: Floats, edges: Floats, then: Floats) -> float:
    """The population stability index; an empty bin counts as half a row."""
    floor = 0.5 / max(len(values), 1)
    a, b = np.maximum(_shares(values, edges), floor), np.maximum(then, floor)
    return float(np.sum((a - b) * np.log(a / b)))


def _shares(values: Floats, edges: Floats) -> Floats:
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    shares: Floats = counts / max(len(values), 1)
    return shares


def of_window(
    log: pd.DataFrame, model: LearntModel, since: pd.Timestamp, *, seed: int
) -> tuple[Rows, list[replay.Retry]]:
    """The retries from then on with their features as they were; whole cases, drawn above 3,000.

    `CannotLearn` where there is none.
    """
    there = [r.view.case_id for r in replay.walk(log) if r.attempt.at >= since]
    if not there:
        raise CannotLearn(f"the log has no retries since {since:%Y-%m-%d}")
    names = sorted(set(there))
    if len(there) > _MOST_RETRIES:
        drawn = np.random.default_rng([seed, 75]).permutation(np.array(names, dtype=object))
        names = sorted(drawn[: int(len(names) * _MOST_RETRIES / len(there))])
    number = {name: place for place, name in enumerate(names)}
    rates, record, group_rows = Rates(), replay.Record(), training.no_group_rows()
    kept: list[replay.Retry] = []
    blocks, groups = [], []
    for retry in replay.walk(log, record, rates=rates, wanted=number.__contains__):
        if retry.attempt.at >= since:
            slots = np.array([retry.attempt.at.timestamp()])
            context = FeatureContext(retry.view, retry.method, slots, rates, model.pay_cycles)
            blocks.append(features.matrix(context))
            training.count_retry(group_rows, retry)
            groups.append(pooling_group(context))
            kept.append(retry)
    opened = {r.view.case_id: r.view.opened_at.timestamp() for r in kept}
    rows = Rows(
        np.concatenate(blocks),
        np.array([r.won for r in kept], dtype=bool),
        np.array([number[r.view.case_id] for r in kept], dtype=np.int64),
        np.array([r.attempt.at.timestamp() for r in kept]),
        np.array(groups, dtype=np.str_), dict(group_rows), rates, record,
        model.pay_cycles, len(there), tuple(names), np.array([opened[name] for name in names]),
    )  # fmt: skip
    return rows, kept


def judge_features(rows: Rows, known: Document, top: Sequence[str]) -> Document:
    """Population stability index per feature, with what chance (95 %) and any month give."""
    found = []
    of = len(rows.won)
    for column, feature in enumerate(features.features()):
        bins = known["features"].get(feature.name)
        if bins is None:
            continue
        then = np.array(bins["shares"])
        psi = _psi(rows.x[:, column].astype(np.float64), np.array(bins["edges"]), then)
        by_chance = float(chi2.ppf(0.95, max(len(then) - 1, 1))) * (1 / of + 1 / known["retries"])
        found.append(
            {
                "feature": feature.name,
                "psi": round(psi, 4),
                "by_chance": round(by_chance, 4),
                "usual": bins["usual"],
                "top": feature.name in top,
            }
        )
    found.sort(key=lambda row: -row["psi"])
    told = [
        row["psi"]
        for row in found
        if row["top"] and row["psi"] > max(row["by_chance"], 1.5 * row["usual"])
    ]
    worst = max(told, default=0.0)
    return {
        "verdict": _verdict(worst, 0.1, 0.25),
        "detail": f"largest index of a top feature beyond the usual: {worst:.3f}; {of} retries "
        f"against {known['retries']}",
        "features": found,
    }


def judge_groups(rows: Rows, known: Document) -> Document:
    """Share of retries of kinds that the training data hardly held."""
    counts = {name: float(sum(n)) for name, n in rows.group_rows.items()}
    total = max(sum(counts.values()), 1e-9)
    rare = {n: c for n, c in counts.items() if known["segments"].get(n, 0.0) < _RARE}
    share = sum(rare.values()) / total
    return {
        "verdict": _verdict(share, 0.05, 0.15),
        "detail": f"{share:.1%} of retries are of a kind with fewer than 25 in training",
        "rare": {name: round(c / total, 4) for name, c in sorted(rare.items())},
    }


def judge_codes(window: pd.DataFrame, known: Document) -> Document:
    """Decline codes that the training data did not hold."""
    codes = Counter(code for code in window["decline_code"] if code)
    new = {code: n for code, n in sorted(codes.items()) if code not in known["codes"]}
    share = sum(new.values()) / max(sum(codes.values()), 1)
    named = f": {', '.join(list(new)[:5])}" if new else ""
    return {
        "verdict": _verdict(share, 0.01, 0.05),
        "detail": f"{share:.1%} of {sum(codes.values())} declines have a code not in training"
        + named,
        "new": new,
    }


def judge_promises(promises: Sequence[Mapping[str, Any]]) -> Document:
    """What the planner was promised for the attempts it chose, against what came of them."""
    if len(promises) < _ENOUGH:
        return {
            "verdict": OK,
            "detail": f"{len(promises)} attempts chosen by this model: too few to tell",
            "attempts": len(promises),
        }
    chance = np.array([row["promised"] for row in promises], dtype=np.float64)
    won = np.array([row["won"] for row in promises], dtype=bool)
    apart = chance - won
    gap = float(apart.mean())
    half = 1.96 * float(apart.std(ddof=1)) / float(np.sqrt(len(apart)))
    told = abs(gap) if abs(gap) > half else 0.0
    return {
        "verdict": _verdict(told, 0.03, 0.08),
        "detail": f"promised {chance.mean():.1%}, came {won.mean():.1%}; the difference is "
        f"{100 * gap:+.1f} points ({100 * (gap - half):+.1f} to {100 * (gap + half):+.1f}) on "
        f"{len(won)} attempts chosen by this model",
        "attempts": len(won),
        "promised": round(float(chance.mean()), 4),
        "came": round(float(won.mean()), 4),
        "gap": round(gap, 4),
        "low": round(gap - half, 4),
        "high": round(gap + half, 4),
        "brier": round(float(np.mean(apart**2)), 4),
        "calibration": metrics.calibration(chance, won) if len(won) >= 10 * _ENOUGH else [],
    }


def judge_brier(chance: Floats, won: Bools, known: Document) -> Document:
    """The Brier score of a window's retries, `chance` and `won` (n,), against training's."""
    if len(won) < _ENOUGH:
        return {"verdict": OK, "detail": f"{len(won)} retries: too few to tell"}
    each = (chance - won) ** 2
    now = float(each.mean())
    error = float(each.std(ddof=1)) / float(np.sqrt(len(each)))
    worse = now - known["brier"]
    return {
        "verdict": _verdict(worse if worse > 2 * error else 0.0, 0.02, 0.05),
        "detail": f"{now:.4f} on {len(won)} retries (error {error:.4f}), {known['brier']:.4f} out "
        "of fold in training",
        "brier": round(now, 4),
        "error": round(error, 4),
        "training": round(known["brier"], 4),
    }


def _verdict(value: float, watch: float, retrain: float) -> str:
    return RETRAIN if value > retrain else WATCH if value > watch else OK


def worst(parts: Mapping[str, Document]) -> str:
    """The verdict over all parts."""
    given = {part["verdict"] for part in parts.values()}
    return next(verdict for verdict in (RETRAIN, WATCH, OK) if verdict in given)
