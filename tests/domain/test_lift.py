"""What may be said of the engine against the holdout, and when."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lift_validity import found_within, without_effect
from simulators.lift_streams import stream

from retry_engine.domain.lift import (
    FEWEST,
    Arm,
    Stratum,
    half_width,
    lift,
    normal_mixture,
    sample_ratio_p,
    tuned_to,
)
from retry_engine.domain.vocabulary import LiftVerdict


def arm(mature: int, recovered: int, drawn: int | None = None) -> Arm:
    return Arm(drawn=mature if drawn is None else drawn, mature=mature, recovered=recovered)


def of(treated: Arm, held_out: Arm, holdout: float = 0.2) -> Stratum:
    return Stratum(holdout=holdout, treated=treated, held_out=held_out)


# -- the formulae against other ways to the same numbers


@pytest.mark.parametrize("v", [1.0, 30.0, 400.0])
@pytest.mark.parametrize("r", [3.0, 50.0])
def test_the_boundary_is_where_the_mixture_of_likelihood_ratios_reaches_one_in_alpha(
    v: float, r: float
) -> None:
    """exp(ls - l^2 v / 2) over l ~ N(0, 1/r), summed on a grid, is 1/alpha on the boundary."""
    s = normal_mixture(v, r, alpha=0.05)
    slopes = np.linspace(-12 / math.sqrt(r), 12 / math.sqrt(r), 200_001)
    density = np.sqrt(r / (2 * np.pi)) * np.exp(-r * slopes**2 / 2)
    wealth = np.trapezoid(np.exp(slopes * s - slopes**2 * v / 2) * density, slopes)
    assert wealth == pytest.approx(1 / 0.05, rel=1e-6)


def test_the_boundary_is_narrowest_where_it_is_tuned_to() -> None:
    """Against a search: the closed form approximates the exact optimum."""
    v = 700.0
    candidates = np.linspace(10, 400, 3901)
    best = float(candidates[np.argmin([normal_mixture(v, r) for r in candidates])])
    assert tuned_to(v) == pytest.approx(best, rel=0.1)
    assert normal_mixture(v, tuned_to(v)) == pytest.approx(normal_mixture(v, best), rel=1e-3)


def test_a_brownian_motion_leaves_the_boundary_in_fewer_than_one_of_twenty() -> None:
    rng = np.random.default_rng(5)
    paths = rng.normal(scale=math.sqrt(5.0), size=(2000, 400)).cumsum(axis=1)
    limit = np.array([normal_mixture(5.0 * k, tuned_to(1000.0)) for k in range(1, 401)])
    assert (np.abs(paths) > limit).any(axis=1).mean() <= 0.05


def test_the_sample_ratio_evidence_is_a_fair_bet_on_arms_as_they_were_drawn() -> None:
    """One more customer leaves its expectation as it was: a martingale, whatever came before."""
    for theirs, ours in ((0, 0), (3, 40), (30, 90)):
        after = 0.2 * evidence(theirs + 1, ours) + 0.8 * evidence(theirs, ours + 1)
        assert after == pytest.approx(evidence(theirs, ours))


def evidence(theirs: int, ours: int) -> float:
    """By the beta's own predictions, one customer after the other."""
    found, a, b = 1.0, 20.0, 80.0
    for is_theirs in [True] * theirs + [False] * ours:
        found *= (a if is_theirs else b) / (a + b) / (0.2 if is_theirs else 0.8)
        a, b = a + is_theirs, b + (not is_theirs)
    p = sample_ratio_p([of(arm(0, 0, ours), arm(0, 0, theirs))])
    assert p == pytest.approx(min(1.0, 1 / found))
    return found


# -- verdicts


def test_a_large_difference_is_told() -> None:
    found = lift([of(arm(4000, 2600), arm(1000, 500))])
    assert found.verdict is LiftVerdict.HIGHER
    assert found.difference == pytest.approx(0.15)
    assert 0 < found.interval[0] < 0.15 < found.interval[1]
    assert found.more_needed == 0
    worse = lift([of(arm(4000, 1400), arm(1000, 500))])
    assert (worse.verdict, worse.interval[1] < 0) == (LiftVerdict.LOWER, True)


@pytest.mark.parametrize(
    ("treated", "held_out"),
    [
        (arm(0, 0), arm(0, 0)),
        (arm(60, 60), arm(0, 0)),
        (arm(400, 400), arm(100, FEWEST - 1)),
        (arm(400, 0), arm(100, 100)),  # none who was not recovered: no spread can be told
        (arm(80, 80), arm(20, 0)),
    ],
)
def test_nothing_is_told_of_too_few(treated: Arm, held_out: Arm) -> None:
    found = lift([of(treated, held_out)])
    assert found.verdict is LiftVerdict.CANNOT_TELL
    assert found.interval == (-1.0, 1.0)
    assert found.more_needed > 0


def test_arms_that_are_not_as_they_were_drawn_are_told_before_any_verdict() -> None:
    found = lift([of(arm(4000, 3600), arm(500, 100))])
    assert found.verdict is LiftVerdict.UNHEALTHY
    assert found.sample_ratio_p < 0.01
    assert found.interval == (-1.0, 1.0)


def test_who_is_not_mature_counts_for_the_arms_and_for_nothing_else() -> None:
    one = lift([of(arm(4000, 2400), arm(1000, 500))])
    other = lift([of(arm(4000, 2400, drawn=4400), arm(1000, 500, drawn=1100))])
    assert (one.interval, one.difference) == (other.interval, other.difference)


def test_a_holdout_that_was_changed_confounds_nothing() -> None:
    """A bad year with a large holdout, a good one with a small: alike within, unlike if pooled."""
    bad = of(arm(1000, 200), arm(1000, 200), holdout=0.5)
    good = of(arm(9000, 7200), arm(1000, 800), holdout=0.1)
    found = lift([bad, good])
    assert found.difference == pytest.approx(0.0, abs=0.001)
    assert found.verdict is LiftVerdict.CANNOT_TELL
    assert (200 + 7200) / 10000 - (200 + 800) / 2000 > 0.2


def test_more_are_needed_the_smaller_the_difference_and_the_holdout() -> None:
    def needed(share: float, holdout: float) -> int:
        ours, theirs = round(1000 * (1 - holdout)), round(1000 * holdout)
        treated, held_out = arm(ours, round(ours * share)), arm(theirs, theirs // 2)
        return lift([of(treated, held_out, holdout=holdout)]).more_needed

    assert needed(0.53, 0.2) > needed(0.56, 0.2) > 0
    assert needed(0.56, 0.1) > needed(0.56, 0.2)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 4)), min_size=1))
def test_the_same_data_in_other_batches_gives_the_same_interval(
    customers: list[tuple[bool, bool, int]],
) -> None:
    def summed(part: list[tuple[bool, bool, int]]) -> list[int]:
        ours = [paid for held_out, paid, _ in part if not held_out]
        theirs = [paid for held_out, paid, _ in part if held_out]
        return [len(ours), sum(ours), len(theirs), sum(theirs)]

    batches = [summed([c for c in customers if c[2] == batch]) for batch in range(5)]
    again = [sum(numbers) for numbers in zip(*batches, strict=True)]
    first, second = (
        lift([of(arm(a, b), arm(c, d), holdout=0.5)]) for a, b, c, d in (summed(customers), again)
    )
    assert first == second
    assert -1 <= first.interval[0] <= first.interval[1] <= 1


def test_the_interval_shrinks_with_information_alone() -> None:
    widths = [half_width(1 / information) for information in (100, 1000, 10000)]
    assert widths == sorted(widths, reverse=True)


# -- played many times; `benchmarks/lift_validity.py` plays each a thousand times


@pytest.mark.parametrize("holdout", [0.05, 0.2])
def test_without_an_effect_hardly_any_comparison_ever_tells_one(holdout: float) -> None:
    shares = without_effect(holdout, runs=60, seed=3)
    assert shares.told <= 0.05
    assert shares.unhealthy <= 0.05
    assert shares.t_test > 0.15  # so that this check can fail


def test_eight_points_are_found_within_1_8_times_the_customers_of_a_single_look() -> None:
    assert found_within(0.2, runs=60, seed=3) >= 0.8


def test_a_policy_that_only_pays_earlier_shows_no_lift() -> None:
    assert without_effect(0.2, runs=40, seed=4, pays_earlier=4.0).told <= 0.05
    played = stream(np.random.default_rng(1), holdout=0.2, customers=6000, pays_earlier=4.0)
    early = played.paid_after <= 10
    assert early[~played.held_out].mean() - early[played.held_out].mean() > 0.1  # looks like one
