"""Earlier and later: a model refit on earlier cases, to be judged on those that came after.

Figures from folds flatter: a fold's model has seen the same weeks. Here it has seen none of them.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from retry_engine.learning import training
from retry_engine.learning.training import Rows, Trained

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LATER_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Split:
    """`earlier` was fitted on retries before `cut` of cases opened before it."""

    cut: datetime
    earlier: Trained
    earlier_cases: int


def by_time(log: pd.DataFrame, rows: Rows, *, seed: int) -> Split:
    """A model of the cases before the last fifth by opening time.

    All of it is made from what the log held by then, rates, pay cycles and offers too.
    `CannotLearn` where the earlier cases carry no model.
    """
    cut = datetime.fromtimestamp(float(np.quantile(rows.opened, 1 - LATER_SHARE)), UTC)
    before = log[log["at"] < cut].reset_index(drop=True)
    earlier = training.rows_of(before, max_rows=max(len(rows.won), 1), seed=seed)
    return Split(cut, training.fit(earlier, seed=seed), len(earlier.ids))


def of_rows(rows: Rows, inside: Bools) -> Rows:
    """Some of the rows, `inside` (n,) says which; what was counted over all of them stays."""
    numbers, case = np.unique(rows.case[inside], return_inverse=True)
    return replace(
        rows,
        x=rows.x[inside],
        won=rows.won[inside],
        at=rows.at[inside],
        group=rows.group[inside],
        fold=rows.fold[inside],
        case=case.astype(np.int64),
        ids=tuple(rows.ids[n] for n in numbers),
        opened=rows.opened[numbers],
    )
