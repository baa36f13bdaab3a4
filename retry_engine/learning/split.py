"""Earlier and later: a model refit on earlier cases, to be judged on those that came after.

Figures from folds flatter: a fold's model has seen the same weeks. Here it has seen none of them.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from retry_engine.decisioning.features import Rates
from retry_engine.learning import replay, training
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

    Features are reused as they were at each retry, so nothing later is in them but one thing: the
    countries' pay cycles, which were learnt from the whole log. `CannotLearn` where the earlier
    cases carry no model.
    """
    cut = float(np.quantile(rows.opened, 1 - LATER_SHARE))
    inside = (rows.opened[rows.case] < cut) & (rows.at < cut)
    rates, record = Rates(), replay.Record()
    group_rows = training.no_group_rows()
    moment = datetime.fromtimestamp(cut, UTC)
    kept = set(rows.ids)
    before = log[log["at"] < moment].reset_index(drop=True)
    for retry in replay.walk(before, record, rates=rates, wanted=kept.__contains__):
        training.count_retry(group_rows, retry)
    earlier = replace(
        of_rows(rows, inside), group_rows=dict(group_rows), rates=rates, record=record,
        churn=training.churn_of(before),
    )  # fmt: skip
    cases = len(np.unique(rows.case[inside]))
    return Split(moment, training.fit(earlier, seed=seed), cases)


def of_rows(rows: Rows, inside: Bools) -> Rows:
    """Some of the rows, `inside` (n,) says which; what was counted over all of them stays."""
    numbers, case = np.unique(rows.case[inside], return_inverse=True)
    return replace(
        rows,
        x=rows.x[inside],
        won=rows.won[inside],
        at=rows.at[inside],
        group=rows.group[inside],
        case=case.astype(np.int64),
        ids=tuple(rows.ids[n] for n in numbers),
        opened=rows.opened[numbers],
    )
