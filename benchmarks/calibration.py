"""Whether a promised chance comes true: on later cases, and where the planner itself went.

    python benchmarks/calibration.py --population strangers --invoices 40000

First the deciles of the retries of later cases, by a model of the earlier ones. Then a policy plays
cases, with a tenth of its choices drawn at random; a second one learns from their log too, and its
own promises on still later cases are held against what came.
"""

import argparse
from dataclasses import replace

import numpy as np
import pandas as pd
from policy_value import populations
from simulators import rollout

from retry_engine import evaluation
from retry_engine.decisioning.success_model import as_chance
from retry_engine.learning import split, training
from retry_engine.learning.log import validate


def table(promised: np.ndarray, came: np.ndarray, parts: int) -> float:
    """Print each part's mean promise and outcome; the largest gap."""
    worst = 0.0
    for part in np.array_split(np.argsort(promised, kind="stable"), parts):
        said, true = promised[part].mean(), came[part].mean()
        gap, error = 100 * (said - true), 100 * np.sqrt(came[part].var() / len(part))
        worst = max(worst, abs(gap))
        print(
            f"  {len(part):6}  promised {said:.3f}  came {true:.3f}  {gap:+.1f} points"
            f" (sampling error {error:.1f})"
        )
    return worst


def later_cases(log: pd.DataFrame) -> None:
    """Deciles of later cases' retries."""
    rows = training.rows_of(log, seed=1)
    cut = split.by_time(log, rows, seed=1)
    later = rows.opened[rows.case] >= cut.cut.timestamp()
    model = cut.earlier.model
    prior = rows.x[later, 0].astype(np.float64)
    learnt = model.trees.log_hazard(rows.x[later])
    chance = as_chance(model.calibrator.log_hazard(learnt, prior))
    worst = table(chance, rows.won[later].astype(float), 10)
    print(f"later cases: largest gap of a decile {worst:.1f} points of {later.sum()} retries")


def own_choices(log: pd.DataFrame, cases: list[rollout.Case], bank: rollout.Charge) -> None:
    """Promises on the policy's own choices, before and after a round of learning from them."""
    half = len(cases) // 2
    first = evaluation.train_policy(log, config={"explore": 0.1}, seed=1)
    own: list[rollout.Row] = [rollout.as_log(c, c.row["attempts"][0]) for c in cases[:half]]
    played = rollout.play(cases[:half], bank, first, own)
    said, true = played.promised.mean(), played.came.mean()
    print(f"own choices before: promised {said:.3f}, came {true:.3f}")
    second = evaluation.train_policy(pd.concat([log, pd.DataFrame(own)]), seed=1)
    plain = replace(first, policy=second.policy)
    for name, policy in (("old model", plain), ("new model", second)):
        played = rollout.play(cases[half:], bank, policy)
        print(f"{name}: promised {played.promised.mean():.3f}, came {played.came.mean():.3f}")
        table(played.promised, played.came.astype(float), 5)


def main() -> None:
    """Both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--population", default="strangers")
    parser.add_argument("--invoices", type=int, default=40_000)
    parser.add_argument("--cases", type=int, default=6000)
    given = parser.parse_args()
    log, cases, bank = populations(given.population, 1, given.invoices, given.cases)
    checked = validate(log)[0]
    print(f"{given.population}: {len(checked)} log rows, {len(cases)} cases to play")
    later_cases(checked)
    own_choices(checked, cases, bank)


if __name__ == "__main__":
    main()
