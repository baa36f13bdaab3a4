"""How quickly customers with an unpaid invoice leave: a hazard by the age of the case.

Leaving competes with recovering: a retry after it brings nothing. Of the log's invoices it is known
how many were lost to a customer who left, and for how many days all of them were open; the policy
file's share counts as some open days of its own.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Days since the failure; the hazard is constant from each to the next, the last one goes on.
AGES = (0.0, 1.0, 3.0, 7.0, 14.0)
_BINS = len(AGES)
_OPEN_DAYS = 100.0
_EDGES = np.array([*AGES, 3650.0])


@dataclass(frozen=True, slots=True)
class ChurnHazard:
    """Per bin of `AGES`: customers who left, and days that invoices were open."""

    left: tuple[float, ...] = (0.0,) * _BINS
    days: tuple[float, ...] = (0.0,) * _BINS

    def hazards(self, expected: float) -> Floats:
        """Share of customers a day that leaves, (bins,); `expected` is the policy file's share."""
        return np.asarray(
            (np.array(self.left) + _OPEN_DAYS * expected) / (np.array(self.days) + _OPEN_DAYS)
        )

    def staying(self, ages: Floats, expected: float) -> Floats:
        """Chance to be there still, (n,), at those ages (n,) in days, being there at the first.

        `ages` must ascend; `expected` is the policy file's share a day.
        """
        whole = np.concatenate([[0.0], np.cumsum(self.hazards(expected) * np.diff(_EDGES))])
        gone = np.interp(ages, _EDGES, whole)
        return np.asarray(np.exp(gone[0] - gone))


# Before any log: the policy file's share alone.
UNKNOWN = ChurnHazard()


def counted(open_days: Floats, left: npt.NDArray[np.bool_]) -> ChurnHazard:
    """From how long each invoice was open (n,), in days, and whether it ended by leaving (n,)."""
    spent = np.clip(open_days[:, None] - _EDGES[:-1], 0.0, np.diff(_EDGES))
    place = np.clip(np.searchsorted(_EDGES, open_days[left], side="right") - 1, 0, _BINS - 1)
    gone = np.bincount(place, minlength=_BINS)
    return ChurnHazard(tuple(map(float, gone)), tuple(map(float, spent.sum(axis=0))))
