"""What learning is worth: share of the way from the fixed schedule to a clairvoyant.

    python benchmarks/policy_value.py --population sandbox --invoices 5000 --seeds 10 --comparator

Trains on a log of mixed schedules, then plays later invoices of the same population.
"""

import argparse
import statistics
import time
from datetime import UTC, datetime
from typing import Any

import pandas as pd
from comparator import comparator
from simulators import rollout
from simulators.daily_balance import daily_balance
from simulators.misspecified_prior import misspecified_prior
from simulators.sandbox_people import sandbox_people

from retry_engine import evaluation
from retry_engine.learning import training
from retry_engine.learning.log import validate

START = datetime(2025, 1, 6, 6, tzinfo=UTC)
LATER = datetime(2026, 3, 2, 6, tzinfo=UTC)


def populations(name: str, seed: int, invoices: int, test: int) -> tuple[Any, ...]:
    """History's log, the cases to play, and the bank."""
    if name == "sandbox":
        log: list[rollout.Row] = []
        parts = max(1, invoices // 1000)
        for part in range(parts):
            start = START + (LATER - START) * (part / parts)
            past, bank = sandbox_people(seed * 1000 + part, invoices // parts, start)
            log += rollout.mixed_history(past, bank, seed + part)
        cases, bank = sandbox_people(seed * 1000 + 999, test, LATER)
        return pd.DataFrame(log), cases, bank
    build = misspecified_prior if name == "strangers" else daily_balance
    past, cases, bank = build(seed, invoices, test=test, since=START)
    return pd.DataFrame(rollout.mixed_history(past, bank, seed)), cases, bank


def main() -> None:
    """A row a seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--population", choices=("sandbox", "households", "strangers"), default="sandbox"
    )
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--invoices", type=int, default=4000)
    parser.add_argument("--test", type=int, default=800)
    parser.add_argument("--comparator", action="store_true", help="a LightGBM too")
    given = parser.parse_args()
    rows = []
    print("seed       gap %: prior learnt lightgbm   attempts: fixed prior learnt", end="")
    print("   promised/came   breaches  train s")
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        log, cases, bank = populations(given.population, seed, given.invoices, given.test)
        begun = time.perf_counter()
        trained = training.train(validate(log)[0], seed=seed)
        policy = evaluation.LearntPolicy(
            evaluation.policy_of(None), trained.model, trained.rows.record
        )
        took = time.perf_counter() - begun
        fixed = rollout.play(cases, bank, evaluation.fixed_schedule())
        prior = rollout.play(cases, bank, evaluation.prior_policy())
        learnt = rollout.play(cases, bank, policy)
        best = rollout.clairvoyant(cases, bank)
        span = best - fixed.net
        other = float("nan")
        if given.comparator:
            played = rollout.play(cases, bank, comparator(trained, seed=seed))
            other = 100 * (played.net - fixed.net) / span
        row = (
            100 * (prior.net - fixed.net) / span, 100 * (learnt.net - fixed.net) / span,
            other, fixed.attempts, prior.attempts, learnt.attempts,
            learnt.promised.mean(), learnt.came.mean(), learnt.breaches, took,
        )  # fmt: skip
        rows.append(row)
        _print(str(seed), row)
    _print("mean", tuple(statistics.fmean(c) for c in zip(*rows, strict=True)))


def _print(name: str, r: tuple[float, ...]) -> None:
    print(
        f"{name:5}      {r[0]:5.1f}  {r[1]:5.1f}    {r[2]:5.1f}            {r[3]:4.2f}  {r[4]:4.2f}"
        f"  {r[5]:4.2f}       {r[6]:.3f} / {r[7]:.3f}   {r[8]:5.0f}   {r[9]:6.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
