"""Is what `report` says of the lift true? Many comparisons are played, and looked at every day.

    python benchmarks/lift_validity.py --runs 1000

Without any effect at most 5 % of the comparisons may ever exclude zero, while a plain t-test by
invoice on the same streams does so in more than 15 %. Eight points more must be found in 80 % by
1.8 times the customers that a single look would need. A policy that only pays earlier has no lift.
Left out: money (only shares are told), and customers who move between accounts.
"""

import argparse
from dataclasses import dataclass

import numpy as np
from simulators.lift_streams import Stream, fixed_sample_size, stream

from retry_engine.domain.lift import lift
from retry_engine.domain.vocabulary import LiftVerdict

TOLD = (LiftVerdict.HIGHER, LiftVerdict.LOWER)
CUSTOMERS = {0.05: 12_000, 0.2: 4_000}  # of a year, without an effect
EFFECT, BASE = 0.08, 0.5


@dataclass(frozen=True, slots=True)
class Shares:
    """Of the comparisons: in how many that was ever said."""

    told: float
    unhealthy: float
    t_test: float


def verdicts_of(played: Stream) -> set[LiftVerdict]:
    """All that was said on any day."""
    return {lift([stratum]).verdict for stratum in played.looks()}


def without_effect(holdout: float, *, runs: int, seed: int, pays_earlier: float = 1.0) -> Shares:
    """Daily looks at comparisons in which both arms are recovered alike."""
    rng = np.random.default_rng([seed, round(holdout * 100)])
    told = unhealthy = t_test = 0
    for _ in range(runs):
        played = stream(
            rng, holdout=holdout, customers=CUSTOMERS[holdout], pays_earlier=pays_earlier
        )
        said = verdicts_of(played)
        told += not said.isdisjoint(TOLD)
        unhealthy += LiftVerdict.UNHEALTHY in said
        t_test += bool((np.abs(played.t_statistics()) > 1.959964).any())
    return Shares(told / runs, unhealthy / runs, t_test / runs)


def found_within(holdout: float, *, runs: int, seed: int, times: float = 1.8) -> float:
    """The share of comparisons that find eight points within so many times the single look's."""
    rng = np.random.default_rng([seed, 8, round(holdout * 100)])
    size = int(times * fixed_sample_size(holdout, base=BASE, effect=EFFECT))
    played = (stream(rng, holdout=holdout, customers=size, effect=EFFECT) for _ in range(runs))
    return sum(LiftVerdict.HIGHER in verdicts_of(one) for one in played) / runs


def main() -> None:
    """Print a line for each share of the holdout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    for holdout in CUSTOMERS:
        alike = without_effect(holdout, runs=asked.runs, seed=asked.seed)
        sooner = without_effect(holdout, runs=asked.runs, seed=asked.seed + 1, pays_earlier=4.0)
        power = found_within(holdout, runs=asked.runs, seed=asked.seed)
        size = fixed_sample_size(holdout, base=BASE, effect=EFFECT)
        print(
            f"holdout {holdout:.0%}: without effect ever told {alike.told:.1%} (plain t-test "
            f"{alike.t_test:.1%}; arms called uneven {alike.unhealthy:.1%}); paid only earlier "
            f"{sooner.told:.1%}; eight points found {power:.1%} within 1.8 times {size:,}",
            flush=True,
        )


if __name__ == "__main__":
    main()
