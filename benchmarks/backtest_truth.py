"""How far the model card's backtest can be believed: its estimate against the truth.

    python benchmarks/backtest_truth.py --invoices 2500 --seeds 6

A log of mixed schedules is split by time as `model train` does it. The backtest estimates what each
policy is worth on the later cases, from the log alone; then the bank of the simulated population
plays the same cases. Net a case in minor units.
"""

import argparse
import statistics
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from simulators import rollout
from simulators.daily_balance import daily_balance
from simulators.sandbox_people import sandbox_people

from retry_engine import evaluation
from retry_engine.domain.policy import Policy
from retry_engine.learning import backtest, split, training
from retry_engine.learning.log import validate

START = datetime(2025, 1, 6, 6, tzinfo=UTC)
LATER = datetime(2026, 3, 2, 6, tzinfo=UTC)
NAMES = ("fixed", "prior", "learnt")


def population(name: str, seed: int, invoices: int) -> tuple[list[rollout.Case], rollout.Charge]:
    """Failed invoices, and their bank."""
    if name == "households":
        past, _, bank = daily_balance(seed, invoices, test=1, since=START)
        return past, bank
    past, banks = [], {}
    parts = max(1, invoices // 500)
    for part in range(parts):
        start = START + (LATER - START) * (part / parts)
        found, bank = sandbox_people(seed * 1000 + part, invoices // parts, start)
        for case in found:
            _rename(case, f"p{part}_")
            banks[case.row["case_id"]] = bank
        past += found

    def charge(case: rollout.Case, method_id: str, at: datetime) -> rollout.Row:
        prefix = case.row["case_id"].split("_")[0] + "_"
        row = banks[case.row["case_id"]](case, method_id.removeprefix(prefix), at)
        return row | {"payment_method_id": method_id}

    return past, charge


def _rename(case: rollout.Case, prefix: str) -> None:
    """The sandbox names its people anew in each part."""
    for key in ("case_id", "invoice_id", "customer_id"):
        case.row[key] = prefix + case.row[key]
    shown = [*case.row["attempts"], *case.row["payment_methods"], *(m for _, m in case.changes)]
    for row in shown:
        row["payment_method_id"] = prefix + row["payment_method_id"]


def truth_of(cases: list[rollout.Case], bank: rollout.Charge, policy: evaluation.Policy) -> float:
    """What the policy is worth a case, each currency's average invoice counted as 100."""
    owed = pd.Series([float(case.row["amount"]) for case in cases])
    currencies = np.array([case.row["currency"] for case in cases])
    total = 0.0
    for currency in np.unique(currencies):
        mine = [case for case in cases if case.row["currency"] == currency]
        average = float(owed[currencies == currency].mean())
        total += rollout.play(mine, bank, policy).net * 100.0 / average
    return total / len(cases)


def compare(
    past: list[rollout.Case], bank: rollout.Charge, seed: int
) -> dict[str, tuple[float, float, float, float]]:
    """Per policy: estimate, its interval, truth."""
    log, _ = validate(pd.DataFrame(rollout.mixed_history(past, bank, seed)))
    rows = training.rows_of(log, seed=seed)
    parted = split.by_time(log, rows, seed=seed)
    model = parted.earlier.model
    found = backtest.run(
        log, rows, model=model, since=parted.cut, policy=Policy(), seed=seed, decided_by="",
    )  # fmt: skip
    by_id = {case.row["invoice_id"]: case for case in past}
    cases = [by_id[episode.view.invoice_id] for episode in found.cases]
    policies: dict[str, evaluation.Policy] = {
        "learnt": evaluation.LearntPolicy(Policy(), model, parted.earlier.rows.record),
        "prior": evaluation.prior_policy(),
        "fixed": evaluation.fixed_schedule(),
    }
    told = {}
    for name in NAMES:
        card = found.card["policies"][name]
        truth = truth_of(cases, bank, policies[name])
        told[name] = card["net_per_case"], card["low"], card["high"], truth
    return told


def main() -> None:
    """A row a seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--population", choices=("households", "sandbox"), default="households")
    parser.add_argument("--invoices", type=int, default=2500)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first-seed", type=int, default=1)
    given = parser.parse_args()
    off: dict[str, list[float]] = {name: [] for name in NAMES}
    inside: dict[str, int] = dict.fromkeys(NAMES, 0)
    print("seed   " + "   ".join(f"{name}: estimate (95 %) truth" for name in NAMES))
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        told = compare(*population(given.population, seed, given.invoices), seed)
        parts = []
        for name, (estimate, low, high, truth) in told.items():
            parts.append(f"{name}: {estimate:.0f} ({low:.0f} to {high:.0f}) {truth:.0f}")
            off[name].append(100 * (estimate / truth - 1))
            inside[name] += low <= truth <= high
        gains = [told["learnt"][k] - told["fixed"][k] for k in (0, 3)]
        print(f"{seed:4}   " + "   ".join(parts) + f"   gain {gains[0]:.0f} / {gains[1]:.0f}")
    for name in NAMES:
        print(
            f"{name}: off by {statistics.fmean(off[name]):+.1f} % ({min(off[name]):+.1f} to "
            f"{max(off[name]):+.1f}), truth inside the interval {inside[name]} of {given.seeds}"
        )


if __name__ == "__main__":
    main()
