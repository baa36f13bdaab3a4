"""Lift against the holdout: how much more often customers are recovered, and whether that is so.

The unit is the customer, each counted once and as they were drawn (intention to treat), whoever
brought the money. What is said holds whenever and however often it is looked at, and depends on the
data alone, not on the looks that came before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, lgamma, log, sqrt

from retry_engine.domain.vocabulary import LiftVerdict

ALPHA = 0.05
# Below so many recovered customers in the smaller arm, and so many who were not, nothing is said.
FEWEST = 25
# An imbalance that chance alone shows at any look, ever, in one of a hundred comparisons.
UNHEALTHY_BELOW = 0.01
# Where the sequence is narrowest: at 1.5 times the information by which a single look finds eight
# points in four of five comparisons, (1.96 + 0.84)^2 / 0.08^2.
DESIGN_DIFFERENCE = 0.08
_DESIGN_INFORMATION = 1.5 * (1.96 + 0.8416) ** 2 / DESIGN_DIFFERENCE**2
# Smaller differences are not planned for: they would take years.
_SMALLEST_DIFFERENCE = 0.02
# How strongly the sample-ratio check believes that the share is as drawn, in customers.
_CONCENTRATION = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Customers of one arm: how many were drawn into it, had their 30 days, and were recovered."""

    drawn: int
    mature: int
    recovered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """Both arms while `holdout` was the share of customers drawn into the holdout."""

    holdout: float
    treated: Arm
    held_out: Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Lift:
    """What can be told. The interval is the whole range where nothing can.

    `more_needed`: so many more customers have to become mature; 0 once there is a verdict.
    """

    verdict: LiftVerdict
    difference: float | None
    interval: tuple[float, float]
    treated: int
    held_out: int
    treated_recovered: int
    held_out_recovered: int
    more_needed: int
    sample_ratio_p: float


def lift(strata: Sequence[Stratum]) -> Lift:
    """The verdict on these customers."""
    p = sample_ratio_p(strata)
    treated, held_out = _mature(strata)
    found = _difference(strata)
    verdict, interval = LiftVerdict.CANNOT_TELL, (-1.0, 1.0)
    if p < UNHEALTHY_BELOW:
        verdict = LiftVerdict.UNHEALTHY
    elif found is not None and _is_enough(strata):
        difference, variance = found
        half = half_width(variance)
        interval = (max(-1.0, difference - half), min(1.0, difference + half))
        if interval[0] > 0:
            verdict = LiftVerdict.HIGHER
        elif interval[1] < 0:
            verdict = LiftVerdict.LOWER
    return Lift(
        verdict=verdict,
        difference=found[0] if found is not None else None,
        interval=interval,
        treated=treated,
        held_out=held_out,
        treated_recovered=_recovered(strata)[0],
        held_out_recovered=_recovered(strata)[1],
        more_needed=0 if verdict in _TOLD else _more_needed(strata, found),
        sample_ratio_p=p,
    )


_TOLD = (LiftVerdict.HIGHER, LiftVerdict.LOWER)


def _mature(strata: Sequence[Stratum]) -> tuple[int, int]:
    return sum(s.treated.mature for s in strata), sum(s.held_out.mature for s in strata)


def _recovered(strata: Sequence[Stratum]) -> tuple[int, int]:
    return sum(s.treated.recovered for s in strata), sum(s.held_out.recovered for s in strata)


def _is_enough(strata: Sequence[Stratum]) -> bool:
    """Whether the smaller arm has had enough of both outcomes for a normal approximation."""
    arms = zip(_mature(strata), _recovered(strata), strict=True)
    mature, recovered = min(arms)
    return min(recovered, mature - recovered) >= FEWEST


# -- the difference, and an interval for it that holds at every look


def half_width(variance: float) -> float:
    """Half of the interval's width, by the variance of the difference.

    The two-sided normal mixture boundary, u(v) = sqrt((v + r) log((v + r) / (a^2 r))): Robbins,
    Annals of Mathematical Statistics 41(5), 1970; Howard, Ramdas, McAuliffe and Sekhon, Annals of
    Statistics 49(2), 2021, eq. (14); as an asymptotic confidence sequence Waudby-Smith, Arbour,
    Sinha, Kennedy and Ramdas, Annals of Statistics 52(6), 2024, theorem 2.2. Here v is the
    information, 1 / variance: the difference times v is a Brownian motion in v, as far as a normal
    approximation goes. r places the time at which the boundary is narrowest, before any data.
    """
    information = 1 / variance
    return normal_mixture(information, tuned_to(_DESIGN_INFORMATION)) / information


def normal_mixture(v: float, r: float, alpha: float = ALPHA) -> float:
    """The boundary that a Brownian motion at time v ever leaves with probability alpha."""
    return sqrt((v + r) * log((v + r) / (alpha**2 * r)))


def tuned_to(v: float, alpha: float = ALPHA) -> float:
    """The r for which the boundary is narrowest at v, closely.

    r = v / (-2 log a + log(1 - 2 log a)): Waudby-Smith et al. 2024, appendix on the choice of rho.
    """
    return v / (-2 * log(alpha) + log(1 - 2 * log(alpha)))


def _difference(strata: Sequence[Stratum]) -> tuple[float, float] | None:
    """(difference of the recovered shares, its variance); None while an arm is empty.

    Each customer weighs the inverse of the chance of their arm (Hajek): where the share of the
    holdout has been changed, the times before and after it are compared within themselves in the
    proportion in which there were customers. With one share it is the plain difference.
    """
    sides = (
        [(s.treated, 1 / (1 - s.holdout)) for s in strata],
        [(s.held_out, 1 / s.holdout) for s in strata],
    )
    means, variances = [], []
    for side in sides:
        weight = sum(arm.mature * w for arm, w in side)
        if weight == 0:
            return None
        mean = sum(arm.recovered * w for arm, w in side) / weight
        spread = sum(
            w**2 * (arm.recovered * (1 - mean) ** 2 + (arm.mature - arm.recovered) * mean**2)
            for arm, w in side
        )
        means.append(mean)
        variances.append(spread / weight**2)
    return means[0] - means[1], sum(variances)


# -- whether the arms are as large as they were drawn


def sample_ratio_p(strata: Sequence[Stratum]) -> float:
    """The chance, at most, of such an imbalance at this or any other look, if all is well.

    The inverse of the Bayes factor of a share that is beta-distributed around the drawn one against
    the drawn share itself: under the latter a martingale, so that Ville's inequality bounds it over
    all looks (Lindon and Malek, NeurIPS 35, 2022). The factors of times with different shares are
    independent and multiply.
    """
    evidence = sum(_log_bayes_factor(s) for s in strata)
    return min(1.0, exp(-evidence)) if evidence < 700 else 0.0


def _log_bayes_factor(stratum: Stratum) -> float:
    share, ours, theirs = stratum.holdout, stratum.treated.drawn, stratum.held_out.drawn
    a, b = _CONCENTRATION * share, _CONCENTRATION * (1 - share)
    return (
        _log_beta(a + theirs, b + ours)
        - _log_beta(a, b)
        - theirs * log(share)
        - ours * log(1 - share)
    )


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


# -- how much longer


def _more_needed(strata: Sequence[Stratum], found: tuple[float, float] | None) -> int:
    """So many more mature customers until a difference such as this one would probably be told.

    As large as the one seen, once enough was seen to go by, and the one designed for until then.
    Probably: in four of five comparisons.
    """
    mature = sum(_mature(strata))
    latest = max(strata, key=lambda s: s.treated.drawn + s.held_out.drawn)
    share = min(latest.holdout, 1 - latest.holdout)
    counted = sum(_recovered(strata))
    mean = (counted + 1) / (mature + 2)
    enough = FEWEST / (share * min(mean, 1 - mean))
    wanted, spread = DESIGN_DIFFERENCE, mean * (1 - mean) / (share * (1 - share))
    if found is not None and _is_enough(strata):
        wanted = max(abs(found[0]), _SMALLEST_DIFFERENCE)
        spread = found[1] * mature
    low, high = 1.0, 1e9
    while high - low > 1:
        middle = (low + high) / 2
        told = wanted - half_width(spread / middle) > 0.8416 * sqrt(spread / middle)
        low, high = (low, middle) if told else (middle, high)
    return max(1, round(max(high, enough) - mature))
