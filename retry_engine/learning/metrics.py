"""How far chances can be trusted: scikit-survival's metrics on the rows of an attempt log."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm
from sksurv.metrics import (
    concordance_index_censored,
    concordance_index_ipcw,
    integrated_brier_score,
)
from sksurv.nonparametric import cumulative_incidence_competing_risks, kaplan_meier_estimator

from retry_engine.domain.vocabulary import EndCause, LoggedEnd
from retry_engine.learning.trees import outcome

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Document = dict[str, Any]

HORIZON = 30.0
_BINS = 10
_DAY = 86_400.0
_Z95 = float(norm.ppf(0.975))
_CHURNED, _RECOVERED = EndCause.CHURNED.value, EndCause.RECOVERED.value
_OTHER = EndCause.OTHER.value
# The other causes go by the same word in the log.
_COUNT_AS_OTHER = [end.value for end in LoggedEnd if end.competes_as is EndCause.OTHER]


def judge(chance: Floats, won: Bools) -> Document:
    """Concordance (Harrell and Uno, one interval), Brier score and calibration by decile.

    `chance` and `won` are (n,) each. A concordance is None where no pair is comparable.
    """
    return {
        "concordance": harrell(outcome(won), chance),
        "concordance_uno": uno(outcome(won), chance),
        "brier": round(float(np.mean((chance - won) ** 2)), 4),
        "calibration": calibration(chance, won),
    }


def harrell(y: Any, risk: Floats) -> float | None:
    """Share of comparable pairs in the right order; None where no pair is comparable.

    `y` is (n,) of (event, time), `risk` (n,). With one interval this is the area under the ROC
    curve.
    """
    event, time = (y[name] for name in y.dtype.names)
    if not event.any() or (event.all() and len(np.unique(time)) < 2):
        return None
    return round(float(concordance_index_censored(event, time, risk)[0]), 4)


def uno(y: Any, risk: Floats, most: int = 10_000) -> float | None:
    """The same, (n,) each, weighted against censoring (Uno et al. 2011).

    On the first `most` rows, as pairs grow squared; scikit-survival's `concordance_index_ipcw`.
    """
    y, risk = y[:most], risk[:most]
    if harrell(y, risk) is None:
        return None
    return round(float(concordance_index_ipcw(y, y, risk)[0]), 4)


def calibration(chance: Floats, won: Bools) -> list[Document]:
    """By tenth of the chance (n,): how many, what was promised, what came, its 95 % interval."""
    order = np.argsort(chance, kind="stable")
    found = []
    for part in np.array_split(order, _BINS):
        if len(part):
            low, high = wilson(int(won[part].sum()), len(part))
            found.append(
                {
                    "attempts": len(part),
                    "promised": round(float(chance[part].mean()), 4),
                    "came": round(float(won[part].mean()), 4),
                    "low": round(low, 4),
                    "high": round(high, 4),
                }
            )
    return found


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927)."""
    share, z2 = hits / of, _Z95**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z95 / (1 + z2 / of) * float(np.sqrt(share * (1 - share) / of + z2 / (4 * of**2)))
    return max(middle - half, 0.0), min(middle + half, 1.0)


# -- over the days of a case


def ends(log: pd.DataFrame) -> pd.DataFrame:
    """Per failed invoice: when it opened, and in how many days it ended by what.

    `cause` is recovered, churned, other (voided, uncollectible, given up) or empty: still open when
    the log ends. `by_retry`: recovered by a retry, not by the customer's own payment.
    """
    attempts = log[log["kind"] == "attempt"]
    first = attempts.drop_duplicates("invoice_id").set_index("invoice_id")
    first = first[first["outcome"].isin(["failed", "requires_action"])]
    paid = attempts[attempts["outcome"] == "succeeded"].drop_duplicates("invoice_id")
    paid = paid.set_index("invoice_id")[["at", "source"]].reindex(first.index)
    closed = log[log["kind"] == "closed"].drop_duplicates("invoice_id").set_index("invoice_id")
    closed = closed[["at", "close_reason"]].reindex(first.index)
    by_charge = paid["at"].notna() & ~(closed["at"] < paid["at"])
    cause = closed["close_reason"].mask(closed["close_reason"].isin(_COUNT_AS_OTHER), _OTHER)
    cause = cause.mask(by_charge, _RECOVERED).fillna("")
    until = paid["at"].where(by_charge, closed["at"]).fillna(log["at"].max())
    return pd.DataFrame(
        {
            "opened": first["at"],
            "days": (until - first["at"]).dt.total_seconds() / _DAY,
            "cause": cause,
            "by_retry": by_charge & (paid["source"] != "customer"),
        }
    )


def cumulative_incidence(ended: pd.DataFrame) -> Document | None:
    """Shares recovered, churned and otherwise ended 30 days after the opening.

    Aalen-Johansen (scikit-survival's `cumulative_incidence_competing_risks`): an invoice that has
    churned is not one that may still be recovered, as one minus Kaplan-Meier would have it.
    """
    kinds = {_RECOVERED: 1, _CHURNED: 2, _OTHER: 3}
    cause = ended["cause"].map(kinds).fillna(0).to_numpy(dtype=np.int64)
    days = ended["days"].to_numpy(dtype=np.float64).clip(1e-6)
    cause, days = np.where(days > HORIZON, 0, cause), np.minimum(days, HORIZON)
    if not cause.any():
        return None
    # the estimator wants causes from 1 on without gaps, and more than one; alone it is Kaplan-Meier
    there, numbered = np.unique(cause[cause > 0], return_inverse=True)
    event = cause.copy()
    event[cause > 0] = numbered + 1
    if len(there) > 1:
        last = cumulative_incidence_competing_risks(event, days)[1][1:, -1]
    else:
        last = 1.0 - kaplan_meier_estimator(event > 0, days)[1][-1:]
    share = dict.fromkeys(kinds, 0.0)
    names = {number: name for name, number in kinds.items()}
    for number, value in zip(there, last, strict=True):
        share[names[int(number)]] = round(float(value), 4)
    return {**share, "days": int(HORIZON), "cases": len(ended)}


def over_time(y: Any, survival: Floats, times: Floats) -> float:
    """scikit-survival's integrated Brier score; censoring is weighted for by these same cases.

    `y` is (event, time), `survival` (cases, times).
    """
    return round(float(integrated_brier_score(y, y, survival, times)), 4)


def integrated_brier(
    chance: Floats, won: Bools, at: Floats, ids: npt.NDArray[Any], ended: pd.DataFrame
) -> Document | None:
    """The integrated Brier score over the 30 days of the cases that those retries belong to.

    `chance`, `won`, `at` (UTC epoch seconds) and `ids` (invoices) are of retries, (n,) each; None
    where no case ends within days that can be told apart.

    The model knows chances of retries, not of days. The survival it stands for is that of "not
    recovered" along the retries that were made: after `t` days it is the product of (1 - p) of the
    retries until then. A case recovered by a retry has its event then; one that churned or was
    given up stays unrecovered for the 30 days; one that paid by itself, or that the log's end cuts
    off, is censored then and weighted for by scikit-survival (the censoring of these same cases).
    The retries that a case had depend on its fate (they end with a success), so this is a score of
    the chances along a given schedule, not a forecast from the opening on. `reference` is the same
    for the Kaplan-Meier curve of these cases, which knows nothing of them.
    """
    names, number = np.unique(ids, return_inverse=True)
    cases = ended.reindex(names)
    opened = cases["opened"].astype("int64").to_numpy() / 1e6
    day = np.maximum(at - opened[number], 0.0) / _DAY
    event = np.zeros(len(names), dtype=bool)
    event[number[won]] = True
    over = cases["cause"].isin([_CHURNED, "other"]).to_numpy()
    followed = (ended["opened"] + pd.to_timedelta(ended["days"], unit="D")).max()
    left = (followed - cases["opened"]).dt.total_seconds().to_numpy() / _DAY
    last = np.where(over, left, cases["days"].to_numpy(dtype=np.float64))
    last[number[won]] = day[won]
    event &= last <= HORIZON
    last = np.clip(last, 1e-6, HORIZON)
    times = np.arange(1.0, HORIZON)
    times = times[(times >= last.min()) & (times < last.max())]
    if len(times) < 2 or not event.any():
        return None
    hazard = np.zeros((len(names), len(times) + 1))
    np.add.at(hazard, (number, np.searchsorted(times, day)), np.log1p(-np.minimum(chance, 0.999)))
    survival = np.exp(np.cumsum(hazard, axis=1)[:, :-1])
    y = np.array(list(zip(event, last, strict=True)), dtype=[("event", bool), ("time", float)])
    known, alive = kaplan_meier_estimator(event, last)
    flat = np.concatenate([[1.0], alive])[np.searchsorted(known, times, side="right")]
    return {
        "value": over_time(y, survival, times),
        "reference": over_time(y, np.tile(flat, (len(names), 1)), times),
        "cases": len(names),
        "from_day": int(times[0]),
        "to_day": int(times[-1]),
    }
