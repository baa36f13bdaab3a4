"""How quickly customers with an unpaid invoice leave."""

from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retry_engine.decisioning.churn import AGES, UNKNOWN, counted

_DAYS = st.lists(st.floats(0.0, 30.0), min_size=1, max_size=40)


def test_before_any_log_customers_leave_as_the_policy_file_says() -> None:
    ages = np.array([2.0, 5.0, 25.0])
    assert np.allclose(UNKNOWN.staying(ages, 0.012), np.exp(-0.012 * (ages - 2.0)))


def test_many_who_left_within_a_day_make_the_first_day_count_most() -> None:
    open_days = np.concatenate([np.full(500, 0.5), np.full(1500, 30.0)])
    learnt = counted(open_days, open_days < 1.0)
    hazards = learnt.hazards(0.012)
    assert hazards[0] > 0.2 > 0.012 > hazards[1:].max()


def test_a_thin_log_moves_what_the_policy_file_says_by_little() -> None:
    learnt = counted(np.array([4.0]), np.array([True]))
    assert np.all(np.abs(learnt.hazards(0.012) - 0.012) < 0.01)


@given(_DAYS, st.randoms(use_true_random=False))
def test_every_customer_who_left_and_every_open_day_is_counted_once(
    days: list[float], luck: Random
) -> None:
    open_days = np.array(days)
    left = np.array([luck.random() < 0.5 for _ in days])
    learnt = counted(open_days, left)
    assert sum(learnt.left) == left.sum()
    assert np.isclose(sum(learnt.days), open_days.sum())


@given(_DAYS, st.floats(0.0, 0.5))
def test_the_chance_to_be_there_still_starts_at_one_and_never_rises(
    days: list[float], expected: float
) -> None:
    open_days = np.array(days)
    learnt = counted(open_days, np.ones(len(days), dtype=bool))
    staying = learnt.staying(np.linspace(3.0, 40.0, 50), expected)
    assert staying[0] == 1.0
    assert np.all(np.diff(staying) <= 0.0)
    assert len(learnt.left) == len(AGES)
