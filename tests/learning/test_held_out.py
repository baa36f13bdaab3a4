"""Figures that are called held out know nothing of what they are judged on."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from retry_engine.decisioning import features
from retry_engine.learning import card, metrics, split, training
from retry_engine.learning.log import validate
from retry_engine.learning.trees import outcome

pytestmark = pytest.mark.integration

START = datetime(2025, 1, 6, 6, tzinfo=UTC)


def coin_flips(seed: int, customers: int = 700) -> pd.DataFrame:
    """Empty accounts, and one retry each whose outcome is a coin's: there is nothing to know."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(customers):
        at = START + timedelta(hours=float(rng.uniform(0, 300 * 24)))
        again = at + timedelta(hours=float(rng.uniform(12, 25 * 24)))
        about = {
            "invoice_id": f"in_{number}", "customer_id": f"cus_{number}", "kind": "attempt",
            "amount": 2900, "currency": "eur", "payment_method_id": f"pm_{number}",
            "method_type": "card", "card_brand": "visa", "card_country": "DE",
            "customer_country": "DE", "customer_timezone": "Europe/Berlin",
        }  # fmt: skip
        won = bool(rng.random() < 0.5)
        rows.append({**about, "at": at, "outcome": "failed", "decline_code": "insufficient_funds"})
        rows.append({**about, "at": again, "outcome": "succeeded" if won else "failed",
                     "decline_code": "" if won else "insufficient_funds"})  # fmt: skip
    return validate(pd.DataFrame(rows))[0]


def auc(score: np.ndarray, won: np.ndarray) -> float:
    found = metrics.harrell(outcome(won), score)
    assert found is not None
    return found


SEEDS = (1, 2, 3)
# two standard deviations of the mean of so many areas under so many flips, and a little
NOISE = 2 * 0.29 / np.sqrt(700 * len(SEEDS)) + 0.01


def test_no_feature_knows_its_own_rows_outcome() -> None:
    """Pay cycles are learnt from outcomes: those of other customers only."""
    found = []
    for seed in SEEDS:
        rows = training.rows_of(coin_flips(seed), seed=seed)
        found.append(auc(rows.x[:, features.column("funds_hazard")].astype(float), rows.won))
    assert np.mean(found) == pytest.approx(0.5, abs=NOISE)


def test_the_chances_of_the_card_and_of_later_cases_are_a_coins() -> None:
    held_out, later = [], []
    for seed in SEEDS:
        log = coin_flips(seed)
        trained = training.train(log, seed=seed)
        # fold by fold: a fold with more successes than the others is promised less than they are
        folds = [trained.rows.fold == number for number in range(3)]
        held_out += [auc(trained.chance[mine], trained.rows.won[mine]) for mine in folds]
        parted = split.by_time(log, trained.rows, seed=seed)
        judged = card.of_later(
            log, parted.earlier.model, since=parted.cut, ended=metrics.ends(log), seed=seed
        )
        later.append(judged["concordance"])
    assert np.mean(held_out) == pytest.approx(0.5, abs=NOISE)
    assert np.mean(later) == pytest.approx(0.5, abs=2.3 * NOISE)


def test_the_earlier_model_is_the_same_whatever_came_later() -> None:
    log = coin_flips(5)
    rows = training.rows_of(log, seed=5)
    one = split.by_time(log, rows, seed=5)
    late = (log["at"] >= one.cut) & (log["outcome"] == "succeeded")
    changed = log.copy()
    changed.loc[late, ["outcome", "decline_code"]] = ["failed", "insufficient_funds"]
    other = split.by_time(changed, training.rows_of(changed, seed=5), seed=5)
    assert other.earlier.model.version == one.earlier.model.version
    assert other.earlier.model.pay_cycles.mixes.keys() == one.earlier.model.pay_cycles.mixes.keys()
    for country, mix in one.earlier.model.pay_cycles.mixes.items():
        np.testing.assert_array_equal(mix, other.earlier.model.pay_cycles.mixes[country])
    assert other.cut == one.cut
