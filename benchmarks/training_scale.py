"""How long a million log rows take to learn from, and how much memory.

    python benchmarks/training_scale.py --rows 1000000

A town's log is told again and again of other customers until there are enough rows.
"""

import argparse
import resource
import time
from datetime import UTC, datetime

import pandas as pd
from simulators import rollout
from simulators.misspecified_prior import misspecified_prior

from retry_engine import evaluation


def town(rows: int, *, invoices: int = 20_000, seed: int = 5) -> pd.DataFrame:
    """At least so many rows, of which each part has customers and invoices of its own."""
    past, _, bank = misspecified_prior(
        seed, invoices, test=1, since=datetime(2025, 1, 6, 6, tzinfo=UTC)
    )
    log = pd.DataFrame(rollout.mixed_history(past, bank, seed))
    parts = [
        log.assign(
            **{
                column: log[column] + f"_{part}"
                for column in ("invoice_id", "customer_id", "payment_method_id", "card_fingerprint")
            }
        )
        for part in range(-(-rows // len(log)))
    ]
    return pd.concat(parts, ignore_index=True).head(rows)


def main() -> None:
    """The figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--invoices", type=int, default=20_000, help="of the town told again")
    given = parser.parse_args()
    log = town(given.rows, invoices=given.invoices)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    policy = evaluation.train_policy(log)
    took = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    version = policy.model.version if policy.model else "prior"
    print(f"{len(log)} rows, {log['invoice_id'].nunique()} invoices: model {version}")
    print(f"trained in {took:.0f} s; peak {peak / 2**20:.1f} GiB, {before / 2**20:.1f} before")


if __name__ == "__main__":
    main()
