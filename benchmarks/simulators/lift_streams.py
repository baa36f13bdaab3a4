"""Failed invoices of a holdout comparison, by day: repeat customers, heavy tails, late money."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retry_engine.domain.lift import Arm, Stratum

_MATURES = 30
_REPEATS = 1.5  # the tail of how often a customer fails again: its variance is infinite
_MOST_REPEATS = 60

Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One comparison: by customer, and by invoice as a plain t-test would take it."""

    holdout: float
    days: int
    opened: Counts  # day of the customer's first failure
    held_out: Flags
    paid_after: NDArray[np.float64]  # days until the first case is paid; inf: never
    invoice_day: Counts
    invoice_held_out: Flags
    invoice_paid: Flags

    def looks(self) -> Iterator[Stratum]:
        """What the record holds at the end of each day."""
        ours, theirs = self._sums(~self.held_out), self._sums(self.held_out)
        for day in range(self.days):
            arms = [
                Arm(drawn=int(s[0][day]), mature=int(s[1][day]), recovered=int(s[2][day]))
                for s in (ours, theirs)
            ]
            yield Stratum(holdout=self.holdout, treated=arms[0], held_out=arms[1])

    def _sums(self, mine: Flags) -> tuple[Counts, Counts, Counts]:
        due, recovered = self.opened + _MATURES, self.paid_after <= _MATURES
        return (
            _by_day(self.opened[mine], self.days),
            _by_day(due[mine], self.days),
            _by_day(due[mine & recovered], self.days),
        )

    def t_statistics(self) -> NDArray[np.float64]:
        """By invoice, each day: the plain two-sample statistic of the shares recovered."""
        due = self.invoice_day + _MATURES
        counts, means = [], []
        for mine in (~self.invoice_held_out, self.invoice_held_out):
            n = _by_day(due[mine], self.days)
            counts.append(np.maximum(n, 1))
            means.append(_by_day(due[mine & self.invoice_paid], self.days) / counts[-1])
        spreads = [m * (1 - m) / n for m, n in zip(means, counts, strict=True)]
        variance = spreads[0] + spreads[1]
        enough = (np.minimum(*counts) >= 30) & (variance > 0)
        found = (means[0] - means[1]) / np.sqrt(np.where(enough, variance, 1.0))
        return np.asarray(np.where(enough, found, 0.0))


def stream(
    rng: np.random.Generator,
    *,
    holdout: float,
    customers: int,
    days: int = 365,
    effect: float = 0.0,
    pays_earlier: float = 1.0,
) -> Stream:
    """A year of it.

    `effect`: so much larger is the share recovered with the engine, half without; 0: customers
    differ widely, and the arms do not. `pays_earlier`: so many times sooner, and no more of them.
    """
    held_out = rng.random(customers) < holdout
    opened = rng.integers(0, days - _MATURES, customers)
    lower = np.full(customers, 0.5) if effect else rng.beta(0.6, 0.6, customers)
    chance = np.where(held_out, lower, np.minimum(lower + effect, 1.0))
    paid = rng.random(customers) < chance
    waits = rng.uniform(0, _MATURES, customers) / np.where(held_out, 1.0, pays_earlier)
    again = np.minimum(rng.pareto(_REPEATS, customers), _MOST_REPEATS).astype(np.int64)
    owner = np.repeat(np.arange(customers), again)
    return Stream(
        holdout=holdout,
        days=days,
        opened=opened,
        held_out=held_out,
        paid_after=np.where(paid, waits, np.inf),
        invoice_day=np.concatenate([opened, opened[owner] + rng.integers(30, days, owner.size)]),
        invoice_held_out=np.concatenate([held_out, held_out[owner]]),
        # a customer's invoices fare much alike
        invoice_paid=np.concatenate([paid, rng.random(owner.size) < chance[owner]]),
    )


def fixed_sample_size(holdout: float, *, base: float, effect: float) -> int:
    """Customers that a test with a single look needs to find the effect in four of five."""
    treated = base + effect
    spread = base * (1 - base) / holdout + treated * (1 - treated) / (1 - holdout)
    return int(np.ceil((1.959964 + 0.841621) ** 2 * spread / effect**2))


def _by_day(day: Counts, days: int) -> Counts:
    """How many there were up to each day."""
    return np.cumsum(np.bincount(day[day < days], minlength=days))
