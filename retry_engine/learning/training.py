"""From an attempt log to a success model.

Rows are retries (`replay.walk`), each with its features as they were then; no fold splits a
customer.
The boosted trees of the folds are averaged, and the calibrator from their log hazard (and the
prior's) to a chance is fitted on rows that the trees in question had not seen.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize, minimize_scalar

from retry_engine.decisioning import churn, features, pay_cycles
from retry_engine.decisioning.churn import UNKNOWN, ChurnHazard
from retry_engine.decisioning.features import FeatureContext, Rates
from retry_engine.decisioning.pay_cycles import PayCycles
from retry_engine.decisioning.success_model import GAPS, Calibrator, LearntModel, pooling_group
from retry_engine.domain.errors import CannotLearn
from retry_engine.domain.vocabulary import EndCause
from retry_engine.learning import fingerprint, metrics, replay, trees, uplift

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]

MIN_ROWS, MIN_WINS = 200, 40
_FOLDS, _TWINS = 3, 2
_RATE = 0.1
_WEIGHTS = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0)


@dataclass(frozen=True, slots=True)
class Rows:
    """Retries as a table: `x` (n, features), `won` (n), `case` (n), `at` (n, UTC epoch seconds).

    `case` counts into `ids` (invoices) and `opened` (UTC epoch seconds). `fold` (n) is the
    customer's: the pay cycles behind a row's features were learnt without that fold's customers.
    """

    x: Matrix
    won: npt.NDArray[np.bool_]
    case: npt.NDArray[np.int64]
    at: Floats
    group: npt.NDArray[np.str_]
    group_rows: dict[str, list[float]]
    rates: Rates
    record: replay.Record
    pay_cycles: PayCycles
    retries: int
    ids: tuple[str, ...]
    opened: Floats
    offered: tuple[uplift.Unit, ...] = ()
    churn: ChurnHazard = UNKNOWN
    log: str = ""  # the fingerprint of all its rows
    fold: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Trained:
    """A model with what it was made from; `chance` (n,) is out of fold, for judging calibration."""

    model: LearntModel
    rows: Rows
    chance: Floats


OnProgress = Callable[[str], None]


def rows_of(
    log: pd.DataFrame,
    *,
    max_rows: int = 150_000,
    seed: int = 0,
    on_progress: OnProgress = lambda _: None,
) -> Rows:
    """The log's retries with their features; whole cases are sampled above `max_rows` retries."""
    attempts = log[log["kind"] == "attempt"]
    total = max(len(attempts) - attempts["invoice_id"].nunique(), 0)
    share = min(1.0, max_rows / max(total, 1))
    fold_of = _folds_of(attempts["customer_id"], seed)
    pay_cycles, without = _pay_cycles_of(log, replay.record_of(log), fold_of, seed=seed)
    rates, record = Rates(), replay.Record()
    blocks: list[Matrix] = []
    won, case, at, groups, fold = [], [], [], [], []
    numbers: dict[str, int] = {}
    opened: dict[str, float] = {}
    group_rows = no_group_rows()
    drawn = replay.walk(
        log, record, rates=rates, wanted=lambda invoice: _drawn(invoice, seed) < share
    )
    for retry in drawn:
        slots = np.array([retry.attempt.at.timestamp()])
        fold.append(fold_of[retry.view.customer_id])
        # with cycles that have not seen what came of it: else the feature tells the outcome
        context = FeatureContext(retry.view, retry.method, slots, rates, without[fold[-1]])
        blocks.append(features.matrix(context))
        won.append(retry.won)
        case.append(numbers.setdefault(retry.view.case_id, len(numbers)))
        opened.setdefault(retry.view.case_id, retry.view.opened_at.timestamp())
        at.append(slots[0])
        groups.append(pooling_group(context))
        _count_in_group(group_rows[groups[-1]], context)
        if len(blocks) % 20_000 == 0:
            on_progress(f"features: {len(blocks)} of about {int(total * share)} retries")
    x = np.concatenate(blocks) if blocks else np.empty((0, len(features.features())), np.float32)
    return Rows(
        x, np.array(won, dtype=bool), np.array(case, dtype=np.int64), np.array(at),
        np.array(groups, dtype=np.str_), dict(group_rows), rates, record, pay_cycles, total,
        tuple(numbers), np.array(list(opened.values())), tuple(uplift.units_of(log)),
        churn_of(log), fingerprint.of_log(log), np.array(fold, dtype=np.int64),
    )  # fmt: skip


def churn_of(log: pd.DataFrame) -> ChurnHazard:
    """How quickly the log's customers left; nothing where it names none who did."""
    ended = metrics.ends(log)
    days = ended["days"].to_numpy(dtype=np.float64)
    left = (ended["cause"] == EndCause.CHURNED).to_numpy() & (days <= metrics.HORIZON)
    if not left.any():
        return UNKNOWN
    return churn.counted(np.minimum(days, metrics.HORIZON), left)


def _drawn(case_id: str, seed: int) -> float:
    digest = hashlib.blake2b(f"{seed}:{case_id}".encode(), digest_size=8).digest()
    return float(int.from_bytes(digest, "big")) / 2.0**64


def no_group_rows() -> dict[str, list[float]]:
    """Where retries are counted by pooling group and gap; empty."""
    return defaultdict(lambda: [0.0] * len(GAPS))


def count_retry(group_rows: dict[str, list[float]], retry: replay.Retry) -> None:
    """Count a retry among what the log holds of its kind."""
    context = FeatureContext(retry.view, retry.method, np.array([retry.view.now.timestamp()]))
    _count_in_group(group_rows[pooling_group(context)], context)


def _count_in_group(counts: list[float], context: FeatureContext) -> None:
    """A retry counts for the two gaps that it lies between."""
    hours = np.log1p(max(context.slots[0] - context.since.timestamp(), 0.0) / 3600.0)
    places = np.interp(hours, np.log1p(GAPS), np.arange(len(GAPS)))
    low = int(places)
    counts[low] += 1.0 - (places - low)
    if low + 1 < len(GAPS):
        counts[low + 1] += places - low


def _folds_of(customers: "pd.Series[str]", seed: int) -> dict[str, int]:
    """A fold for each customer: a customer's cases share their pay cycle, and so their fold."""
    names = np.unique(customers.to_numpy(dtype=object))
    folds = np.random.default_rng([seed, 76]).permutation(np.arange(len(names)) % _FOLDS)
    return dict(zip(names.tolist(), folds.tolist(), strict=True))


def _pay_cycles_of(
    log: pd.DataFrame,
    record: replay.Record,
    fold_of: Mapping[str, int],
    *,
    seed: int,
    most: int = 20_000,
) -> tuple[PayCycles, list[PayCycles]]:
    """Pay cycles from the records of a sample of customers, and per fold from the others alone."""
    attempts = log[log["kind"] == "attempt"]
    about = attempts.groupby("customer_id", sort=True)[["customer_country", "customer_timezone"]]
    last = about.last()
    chosen = np.arange(len(last))
    if len(last) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(len(last), most, replace=False))
    told = [
        (
            fold_of[customer],
            pay_cycles.evidence(record.customers[customer], country=country, timezone=timezone),
        )
        for customer, country, timezone in last.iloc[chosen].itertuples(name=None)
    ]
    without = [
        pay_cycles.learn([e for fold, e in told if fold != number]) for number in range(_FOLDS)
    ]
    return pay_cycles.learn([e for _, e in told]), without


def train(
    log: pd.DataFrame,
    *,
    seed: int = 0,
    max_rows: int = 150_000,
    settings: str = "",
    on_progress: OnProgress = lambda _: None,
) -> Trained:
    """Fit the model; `CannotLearn` says why where the data cannot carry one.

    `settings` is the version of the policy that its card is made with.
    """
    rows = rows_of(log, max_rows=max_rows, seed=seed, on_progress=on_progress)
    return fit(rows, seed=seed, settings=f"{max_rows}:{settings}", on_progress=on_progress)


def fit(
    rows: Rows, *, seed: int, settings: str = "", on_progress: OnProgress = lambda _: None
) -> Trained:
    """Fit the model on rows that are there already; `CannotLearn` as above."""
    wins, losses = int(rows.won.sum()), int((~rows.won).sum())
    if len(rows.won) < MIN_ROWS or min(wins, losses) < MIN_WINS:
        raise CannotLearn(
            f"the log has {len(rows.won)} retries, {wins} of them successful: a model needs at "
            f"least {MIN_ROWS}, and {MIN_WINS} of either kind; the prior decides meanwhile"
        )
    if len(np.unique(rows.fold)) < _FOLDS:
        raise CannotLearn("the retries are of too few customers to hold some of them out")
    on_progress(
        f"training on {len(rows.won)} retries of {rows.case.max() + 1} cases, {wins} successful"
    )
    members, learnt = _members(rows, seed=seed, on_progress=on_progress)
    prior = rows.x[:, features.column(features.PRIOR)].astype(np.float64)
    calibrator = fit_calibrator(learnt, prior, rows.won)
    prior_offsets = _fit_prior_offsets(prior, rows)
    weight = _fit_prior_rows(rows, calibrator.log_hazard(learnt, prior), prior, prior_offsets)
    model = LearntModel(
        version=version_of(rows, seed, settings),
        trees=trees.of_boosting(members, rate=_RATE, features=rows.x.shape[1]),
        calibrator=calibrator,
        rates=rows.rates,
        pay_cycles=rows.pay_cycles,
        group_rows=rows.group_rows,
        prior_rows=weight,
        prior_offsets=prior_offsets,
        offer_effects=uplift.learn(rows.offered),
        churn=rows.churn,
    )
    return Trained(model, rows, _held_out(rows, learnt, prior))


def _held_out(rows: Rows, learnt: Floats, prior: Floats) -> Floats:
    """Each row's chance by trees, pay cycles and calibrator that were fitted on other folds."""
    hazard = np.empty(len(learnt))
    for number in range(_FOLDS):
        mine = rows.fold == number
        fitted = fit_calibrator(learnt[~mine], prior[~mine], rows.won[~mine])
        hazard[mine] = fitted.log_hazard(learnt[mine], prior[mine])
    return -np.expm1(-np.exp(np.minimum(hazard, 3.0)))


def _members(
    rows: Rows, *, seed: int, on_progress: OnProgress
) -> tuple[list[trees.Boosting], Floats]:
    """Twin boosters a fold, and for each row the log hazard by those that had not seen it.

    All members' mean is less noisy than two twins' mean. Their differences tell by how much, and
    the log hazards are drawn together accordingly, so that the calibrator fits what will be served.
    """
    fold = rows.fold
    shape = _shape(len(rows.won))
    members, unseen = [], np.zeros((_TWINS, len(rows.won)))
    for number in range(_FOLDS):
        on_progress(f"fold {number + 1} of {_FOLDS}")
        inside = fold != number
        for twin in range(_TWINS):
            booster = trees.Boosting(**shape, random_state=seed * 97 + number * _TWINS + twin)
            booster.fit(rows.x[inside], trees.outcome(rows.won[inside]))
            members.append(booster)
            unseen[twin, ~inside] = booster.predict(rows.x[~inside])
    learnt = unseen.mean(axis=0)
    noise = float(unseen.var(axis=0, ddof=1).mean())
    signal = max(float(learnt.var()) - noise / _TWINS, 1e-9)
    served = signal + noise / len(members)
    drawn = np.sqrt(served / (signal + noise / _TWINS))
    return members, learnt.mean() + drawn * (learnt - learnt.mean())


def _shape(rows: int) -> dict[str, Any]:
    """Trees that the rows can carry."""
    few = rows < 5000
    return {
        "n_estimators": 40 if few else 60,
        "max_depth": 5 if few else 7,
        "learning_rate": _RATE,
        "subsample": 0.7,
        "max_features": 0.3,
        "min_samples_leaf": max(20 if few else 30, rows // 4000),
    }


def fit_calibrator(learnt: Floats, prior: Floats, won: npt.NDArray[np.bool_]) -> Calibrator:
    """Most likely calibrator, drawn weakly towards the prior alone; a little data changes little.

    `learnt` and `prior` are log hazards, (n,); `won` (n,) what came of the charges.
    """

    def loss(given: Floats) -> float:
        a, b, c = given
        hazard = np.exp(np.clip(a + b * learnt + c * prior, -12.0, 3.0))
        miss = np.where(won, -np.log(-np.expm1(-hazard)), hazard).sum()
        return float(miss + 4.0 * (a**2 * 0.1 + b**2 * 0.1 + (c - 0.5) ** 2))

    found = minimize(loss, np.array([0.0, 0.5, 0.5]), method="Nelder-Mead",
                     options={"maxiter": 2000, "xatol": 1e-5, "fatol": 1e-6})  # fmt: skip
    a, b, c = (float(v) for v in found.x)
    return Calibrator(intercept=a, slope=b, prior_slope=c)


def _fit_prior_offsets(prior: Floats, rows: Rows) -> dict[str, float]:
    """How far the prior's log hazard is off, per pooling group and for tried and fresh methods."""
    names = rows.group
    groups = np.array([name.partition(":")[0] for name in names])
    found: dict[str, float] = {}
    for group in np.unique(groups):
        inside = groups == group
        found[str(group)] = _offset(prior[inside], rows.won[inside], around=0.0)
        for name in np.unique(names[inside]):
            chosen = names == name
            found[str(name)] = _offset(prior[chosen], rows.won[chosen], around=found[str(group)])
    return found


def _fit_prior_rows(rows: Rows, own: Floats, prior: Floats, offsets: Mapping[str, float]) -> float:
    """How many rows the prior is worth where the log is thin: what makes the rows likeliest.

    `own` are log hazards by trees that had not seen the row.
    """
    tried = np.char.startswith(rows.group, "tried")
    waited = np.expm1(rows.x[:, features.column("log_gap_method")])
    hours = np.where(tried, waited, 24.0 * rows.x[:, features.column("days_open")])
    seen = np.zeros(len(own))
    moved = prior.copy()
    for name in np.unique(rows.group):
        inside = rows.group == name
        counts = np.asarray(rows.group_rows[name])
        seen[inside] = np.interp(np.log1p(hours[inside]), np.log1p(GAPS), counts)
        moved[inside] += offsets[name]

    def miss(weight: float) -> float:
        share = seen / (seen + weight)
        hazard = np.exp(np.clip(share * own + (1 - share) * moved, -12.0, 3.0))
        return float(np.where(rows.won, -np.log(-np.expm1(-hazard)), hazard).sum())

    return min(_WEIGHTS, key=miss)


def _offset(prior: Floats, won: npt.NDArray[np.bool_], *, around: float) -> float:
    def loss(offset: float) -> float:
        hazard = np.exp(np.clip(prior + offset, -12.0, 3.0))
        miss = np.where(won, -np.log(-np.expm1(-hazard)), hazard).sum()
        return float(miss + 2.0 * (offset - around) ** 2)

    return float(minimize_scalar(loss, bounds=(-5.0, 3.0), method="bounded").x)


def version_of(rows: Rows, seed: int, settings: str) -> str:
    """Another one for other rows of any kind, other code, other libraries, another seed."""
    retries = hashlib.sha256(rows.x.tobytes() + rows.won.tobytes()).hexdigest()
    parts = (rows.log, retries, fingerprint.of_code(), str(seed), settings)
    last = pd.Timestamp(float(rows.at.max()), unit="s").strftime("%Y%m%d")
    return f"hazard-{last}-{fingerprint.of(parts)}"
