"""What Stripe's fixed schedule brings without any engine."""

from datetime import datetime, timedelta
from random import Random

from retry_engine.sandbox.accounts.account import Account, Terms
from retry_engine.sandbox.billing import clocks
from retry_engine.sandbox.population import settling
from retry_engine.sandbox.population.report import Report, summarise

# what the fixed schedule's own report is called where only that is meant
BaselineReport = Report


def fixed_schedule(
    *,
    seed: int,
    invoices: int,
    days: int,
    start: datetime,
    retry_days: tuple[float, ...] = (3, 5, 7),
) -> Report:
    """Play a population with Stripe's own retries alone, so many days after the first failure."""
    rng = Random(f"{seed} baseline")  # noqa: S311 -- ids of a simulation
    account = Account(
        "acct_1Baseline0000000", now=lambda: start, rng=rng, terms=Terms(retry_days=retry_days)
    )
    begins = int(start.timestamp())
    clock = clocks.create(account, {"frozen_time": begins, "name": "baseline"})
    settling.settle(account, seed=seed, invoices=invoices, days=days, start=start, clock=clock)
    end = start + timedelta(days=days)
    clocks.advance(account, clock, int(end.timestamp()))
    return summarise(account)
