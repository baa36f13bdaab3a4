from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from simulators import rollout
from simulators.daily_balance import daily_balance

from retry_engine.decisioning import features
from retry_engine.decisioning.features import FeatureContext, Rates
from retry_engine.learning import replay, training
from retry_engine.learning.log import validate

START = datetime(2025, 1, 6, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def log() -> pd.DataFrame:
    past, _, bank = daily_balance(5, 400, test=1, since=START)
    return validate(pd.DataFrame(rollout.mixed_history(past, bank, 5)))[0]


def test_shuffling_the_future_changes_no_feature(log: pd.DataFrame) -> None:
    """Everything after the middle is replaced by noise: rows before it stay the same."""
    middle = log["at"].iloc[len(log) // 2]
    altered = log.copy()
    late = (altered["at"] > middle) & (altered["kind"] == "attempt")
    mixed = altered.loc[late].sample(frac=1.0, random_state=1)
    for column in ("outcome", "decline_code", "amount", "customer_id", "card_fingerprint"):
        altered.loc[late, column] = mixed[column].to_numpy()
    for one, other in zip(_rows(log), _rows(altered), strict=False):
        if one[0] > middle.timestamp():
            break
        np.testing.assert_array_equal(one[1], other[1])
    else:
        pytest.fail("no row lies after the middle")


def _rows(log: pd.DataFrame) -> list[tuple[float, np.ndarray]]:
    rates, found = Rates(), []
    for retry in replay.walk(log):
        at = np.array([retry.attempt.at.timestamp()])
        found.append(
            (at[0], features.matrix(FeatureContext(retry.view, retry.method, at, rates))[0])
        )
        rates.add(retry.attempt, retry.last_code)
    return found


def test_training_and_serving_compute_the_same_row(log: pd.DataFrame) -> None:
    """The row of a retry is that slot's row of the curve drawn from an earlier moment."""
    retry = next(
        r for r in replay.walk(log) if r.attempt.at - r.view.attempts[-1].at > timedelta(2)
    )
    at = retry.attempt.at.timestamp()
    slots = np.array([at - 86_400.0, at - 3600.0, at])
    alone = features.matrix(FeatureContext(retry.view, retry.method, np.array([at])))
    among = features.matrix(FeatureContext(retry.view, retry.method, slots))
    np.testing.assert_allclose(alone[0], among[2], rtol=1e-5)


def test_every_feature_is_named_described_and_finite(log: pd.DataFrame) -> None:
    table = features.describe_all()
    assert len({row["name"] for row in table}) == len(table)
    assert all(row["doc"] and row["source"] for row in table)
    rows = training.rows_of(log)
    assert rows.x.shape == (len(rows.won), len(table))
    assert np.isfinite(rows.x).all()


def test_the_local_clock_follows_daylight_saving(log: pd.DataFrame) -> None:
    retry = next(r for r in replay.walk(log) if r.view.customer_timezone == "America/New_York")
    winter = datetime(2025, 3, 8, 17, tzinfo=UTC).timestamp()
    summer = datetime(2025, 3, 10, 17, tzinfo=UTC).timestamp()
    context = FeatureContext(retry.view, retry.method, np.array([winter, summer], dtype=np.float64))
    assert list(context.local % 86_400 / 3600) == [12.0, 13.0]


def test_a_moment_is_the_same_alone_and_on_the_curve_on_the_day_the_clock_changes(
    log: pd.DataFrame,
) -> None:
    retry = next(r for r in replay.walk(log) if r.view.customer_timezone == "America/New_York")
    change = datetime(2025, 3, 9, 7, tzinfo=UTC).timestamp()
    slots = change + np.arange(-20, 20, dtype=np.float64) * 1800
    among = FeatureContext(retry.view, retry.method, slots).local
    alone = [FeatureContext(retry.view, retry.method, slots[[n]]).local[0] for n in range(40)]
    assert among.tolist() == alone
