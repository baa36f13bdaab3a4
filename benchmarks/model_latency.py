"""How long a decision with the learnt model takes, and how scikit-survival's own way compares.

    python benchmarks/model_latency.py

Without I/O. The comparison: the chance at each 3-hour slot of a case's horizon, by our path
(features included) against `predict_survival_function` of the same estimators on ready features.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pandas as pd
from simulators import rollout
from simulators.daily_balance import daily_balance

from retry_engine import evaluation
from retry_engine.decisioning import features, planner
from retry_engine.domain.policy import Policy
from retry_engine.learning import replay, training, trees
from retry_engine.learning.log import validate

START = datetime(2025, 1, 6, 6, tzinfo=UTC)


def percentiles(work: Sequence[Callable[[], object]]) -> tuple[float, float]:
    """p50 and p99 of the calls, in milliseconds."""
    times = []
    for one in work:
        begun = time.perf_counter()
        one()
        times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times), float(np.percentile(times, 99))


def main() -> None:
    """One line a figure."""
    past, cases, bank = daily_balance(21, 4000, test=1000, since=START)
    log, _ = validate(pd.DataFrame(rollout.mixed_history(past, bank, 21)))
    trained = training.train(log)
    model, record = trained.model, replay.Record()
    views = [evaluation.view_of(c.row, record) for c in cases]
    policy = Policy()
    planner.decide(views[0], policy=policy, model=model)

    bare = [partial(planner.decide, v, policy=policy, model=model, explain=False) for v in views]
    told = [partial(planner.decide, v, policy=policy, model=model) for v in views]
    print("a decision, ms:                   p50 {:.1f}  p99 {:.1f}".format(*percentiles(bare)))
    print("a decision with its reasons, ms:  p50 {:.1f}  p99 {:.1f}".format(*percentiles(told)))
    table = pd.DataFrame([c.row for c in cases])
    learnt = evaluation.LearntPolicy(policy, model, record)
    begun = time.perf_counter()
    learnt.decide(table)
    print(f"{len(table)} cases together, s:          {time.perf_counter() - begun:.2f}")

    rows = trained.rows
    booster = trees.Boosting(n_estimators=210, max_depth=5, subsample=0.5, random_state=0)
    booster.fit(rows.x, trees.outcome(rows.won))
    view = views[0]
    slots = view.now.timestamp() + 10_800.0 * np.arange(240, dtype=np.float64)
    method = view.payment_methods[0]
    block = features.matrix(model.context(view, method, slots))
    ours, _ = percentiles([lambda: model.success_probability(view, method, slots)] * 100)
    theirs, _ = percentiles(
        [lambda: [booster.predict_survival_function(row[None, :]) for row in block]] * 3
    )
    once, _ = percentiles([lambda: booster.predict_survival_function(block)] * 20)
    print(
        f"240 slots of a case, ms: ours {ours:.1f}; predict_survival_function a slot {theirs:.0f}"
    )
    print(f"  ({theirs / ours:.0f} times), for all slots in one call {once:.1f}")


if __name__ == "__main__":
    main()
