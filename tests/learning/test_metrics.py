"""The metrics of model cards, on public data sets against the values published for them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sksurv.datasets import load_gbsg2, load_veterans_lung_cancer, load_whas500
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import brier_score
from sksurv.preprocessing import OneHotEncoder

from retry_engine.decisioning.churn import UNKNOWN
from retry_engine.learning import metrics, training


def _veterans() -> tuple[pd.DataFrame, np.ndarray]:
    x, y = load_veterans_lung_cancer()
    return OneHotEncoder().fit_transform(x), y


def test_concordance_on_the_veterans_trial_is_the_published_one() -> None:
    """scikit-survival's user guide, "Introduction", Cox on all variables: 0.7362562."""
    x, y = _veterans()
    assert metrics.harrell(y, CoxPHSurvivalAnalysis().fit(x, y).predict(x)) == 0.7363


@pytest.mark.parametrize(
    ("column", "published"),
    [
        ("Karnofsky_score", 0.709280),
        ("Celltype=smallcell", 0.572581),
        ("Celltype=large", 0.561620),
        ("Treatment=test", 0.525386),
        ("Age_in_years", 0.515107),
        ("Prior_therapy=yes", 0.494434),
    ],
)
def test_concordance_of_single_variables_is_the_published_one(
    column: str, published: float
) -> None:
    """scikit-survival's user guide, "Introduction", feature selection."""
    x, y = _veterans()
    one = x[[column]]
    found = metrics.harrell(y, CoxPHSurvivalAnalysis().fit(one, y).predict(one))
    assert found == round(published, 4)


def _breast_cancer() -> tuple[np.ndarray, list[Any]]:
    x, y = load_gbsg2()
    x["tgrade"] = x["tgrade"].map(len).astype(int)
    matrix = OneHotEncoder().fit_transform(x)
    fitted = CoxPHSurvivalAnalysis(ties="efron").fit(matrix, y)
    return y, list(fitted.predict_survival_function(matrix))


def test_brier_scores_on_the_breast_cancer_study_are_the_published_ones() -> None:
    """scikit-survival's reference: 0.20881843 at five years, 0.1815853 over one to five years."""
    y, curves = _breast_cancer()
    [at_five_years] = brier_score(y, y, [curve(1825) for curve in curves], 1825)[1]
    assert at_five_years == pytest.approx(0.20881843, abs=1e-8)
    times = np.arange(365.0, 1826.0)
    survival = np.array([curve(times) for curve in curves])
    assert metrics.over_time(y, survival, times) == round(0.1815853064627424, 4)


def test_unos_concordance_is_harrells_where_nothing_is_censored() -> None:
    x, y = load_whas500()
    dead = y["fstat"]
    risk = x.loc[dead, "age"].to_numpy()
    assert metrics.uno(y[dead], risk) == pytest.approx(metrics.harrell(y[dead], risk), abs=2e-4)


def test_a_calibration_interval_holds_the_share_it_is_of() -> None:
    assert metrics.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert metrics.wilson(10, 20) == pytest.approx((0.2993, 0.7007), abs=1e-4)


# -- cases over their days


def _log(*rows: tuple[str, float, str, str]) -> pd.DataFrame:
    """(invoice, day, what, source or close reason)."""
    start = pd.Timestamp("2025-03-01", tz="UTC")
    found = [
        {
            "invoice_id": invoice,
            "at": start + pd.Timedelta(days=day),
            "kind": "closed" if what == "closed" else "attempt",
            "outcome": "" if what == "closed" else what,
            "source": "" if what == "closed" else more,
            "close_reason": more if what == "closed" else "",
        }
        for invoice, day, what, more in rows
    ]
    frame = pd.DataFrame(found).sort_values("at", kind="stable").reset_index(drop=True)
    return frame.astype({"at": "datetime64[us, UTC]"})


def test_ends_tell_recoveries_from_churn_and_from_cases_that_are_open_still() -> None:
    log = _log(
        ("paid", 0, "failed", "stripe"), ("paid", 4, "succeeded", "engine"),
        ("own", 0, "failed", "stripe"), ("own", 3, "succeeded", "customer"),
        ("gone", 1, "failed", "stripe"), ("gone", 6, "closed", "churned"),
        ("void", 1, "failed", "stripe"), ("void", 2, "closed", "voided"),
        ("open", 2, "failed", "stripe"), ("open", 40, "failed", "stripe"),
        ("fine", 2, "succeeded", "stripe"),
    )  # fmt: skip
    ended = metrics.ends(log)
    assert ended["cause"].to_dict() == {
        "paid": "recovered", "own": "recovered", "gone": "churned", "void": "other", "open": "",
    }  # fmt: skip
    assert ended["days"].to_dict() == {"paid": 4, "own": 3, "gone": 5, "void": 1, "open": 38}
    assert ended.index[ended["by_retry"]].tolist() == ["paid"]


def test_days_until_a_case_is_paid_count_against_customers_who_leave() -> None:
    log = _log(
        ("paid", 0, "failed", "stripe"), ("paid", 4, "succeeded", "engine"),
        ("gone", 1, "failed", "stripe"), ("gone", 6, "closed", "churned"),
        ("open", 2, "failed", "stripe"), ("open", 60, "failed", "stripe"),
    )  # fmt: skip
    learnt = training.churn_of(log)
    # a day in the first bin each; "gone" in the third; nothing is followed after a month
    assert list(learnt.left) == [0, 0, 1, 0, 0]
    assert list(learnt.days) == [3, 6, 1 + 2 + 4, 7, 16]


def test_a_log_that_names_nobody_who_left_tells_nothing_of_leaving() -> None:
    log = _log(
        ("paid", 0, "failed", "stripe"), ("paid", 4, "succeeded", "engine"),
        ("void", 1, "failed", "stripe"), ("void", 2, "closed", "voided"),
    )  # fmt: skip
    assert training.churn_of(log) == UNKNOWN


def test_competing_ends_share_the_cases_among_them() -> None:
    rows: list[tuple[str, float, str, str]] = [("late", 0, "failed", "stripe")]
    rows += [(f"r{n}", 0, "failed", "stripe") for n in range(5)]
    rows += [(f"r{n}", 2 + n, "succeeded", "engine") for n in range(5)]
    rows += [(f"c{n}", 0, "failed", "stripe") for n in range(3)]
    rows += [(f"c{n}", 1 + n, "closed", "churned") for n in range(3)]
    rows += [("o", 0, "failed", "stripe"), ("o", 9, "closed", "voided")]
    rows += [("late", 35, "failed", "stripe")]
    share = metrics.cumulative_incidence(metrics.ends(_log(*rows)))
    assert share is not None
    # nothing is censored before day 30, so the estimate is the plain share of ten
    assert (share["recovered"], share["churned"], share["other"]) == (0.5, 0.3, 0.1)


def test_one_kind_of_end_alone_is_kaplan_meier() -> None:
    rows = [(f"r{n}", 0, "failed", "stripe") for n in range(4)]
    rows += [("r0", 2, "succeeded", "engine"), ("r1", 40, "failed", "stripe")]
    share = metrics.cumulative_incidence(metrics.ends(_log(*rows)))
    assert share is not None
    assert (share["recovered"], share["churned"]) == (0.25, 0.0)


def test_the_survival_of_a_case_is_the_product_along_its_retries() -> None:
    rows: list[tuple[str, float, str, str]] = [(f"i{n}", 0, "failed", "stripe") for n in range(4)]
    rows += [("i0", 1.5, "succeeded", "engine"), ("i1", 3, "failed", "engine")]
    rows += [("i1", 8, "succeeded", "engine"), ("i2", 5, "failed", "engine")]
    rows += [("i3", 6, "failed", "engine"), ("i3", 45, "failed", "stripe")]
    log = _log(*rows)
    retries = log[log["source"] == "engine"]
    chance = np.array([0.7, 0.4, 0.2, 0.1, 0.6])
    score = metrics.integrated_brier(
        chance,
        (retries["outcome"] == "succeeded").to_numpy(),
        retries["at"].astype("int64").to_numpy() / 1e6,
        retries["invoice_id"].to_numpy(),
        metrics.ends(log),
    )
    assert score is not None
    times = np.arange(2.0, 30.0)  # from the first end on
    survival = np.array(
        [
            np.where(times >= 1.5, 0.3, 1.0),
            np.where(times >= 8, 0.6 * 0.4, np.where(times >= 3, 0.6, 1.0)),
            np.where(times >= 5, 0.8, 1.0),
            np.where(times >= 6, 0.9, 1.0),
        ]
    )
    y = np.array(
        [(True, 1.5), (True, 8.0), (False, 30.0), (False, 30.0)],
        dtype=[("event", bool), ("time", float)],
    )
    assert (score["value"], score["from_day"]) == (metrics.over_time(y, survival, times), 2)


def test_knowing_the_cases_beats_the_curve_that_knows_none() -> None:
    rng = np.random.default_rng(4)
    true = rng.uniform(0.05, 0.95, 400)
    won = rng.random(400) < true
    rows: list[tuple[str, float, str, str]] = [(f"i{n}", 0, "failed", "stripe") for n in range(400)]
    day = rng.uniform(1, 9, 400)
    told = ["succeeded" if w else "failed" for w in won]
    rows += [(f"i{n}", day[n], told[n], "engine") for n in range(400)]
    rows += [("i0", 50, "failed", "customer")]
    log = _log(*rows)
    order = log[log["source"] == "engine"]
    place = order["invoice_id"].str[1:].astype(int).to_numpy()
    at = order["at"].astype("int64").to_numpy() / 1e6
    ended = metrics.ends(log)
    score = metrics.integrated_brier(
        true[place], won[place], at, order["invoice_id"].to_numpy(), ended
    )
    assert score is not None
    assert score["value"] < 0.85 * score["reference"]
