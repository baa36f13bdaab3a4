"""The points of an explanation are of the chance that decided, also where the prior weighs."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from simulators import rollout
from simulators.daily_balance import daily_balance
from simulators.misspecified_prior import misspecified_prior
from simulators.sandbox_people import sandbox_people

from retry_engine.decisioning import planner, reasons
from retry_engine.decisioning.success_model import LearntModel
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.decisions import DecisionKind, Reason
from retry_engine.domain.policy import Policy
from retry_engine.learning import training
from retry_engine.learning.api import view_of
from retry_engine.learning.log import validate

START = datetime(2025, 1, 6, 6, tzinfo=UTC)
POPULATIONS = ("sandbox", "households", "strangers")
Town = tuple[LearntModel, list[CaseView]]


def town_of(population: str, *, invoices: int, cases: int) -> Town:
    """A model of that population's log, on which the prior weighs, and cases to decide."""
    if population == "sandbox":
        found, bank = sandbox_people(3, invoices + cases, START)
        past, later = found[:invoices], found[invoices:]
    else:
        build = daily_balance if population == "households" else misspecified_prior
        past, later, bank = build(3, invoices, test=cases, since=START)
    log, _ = validate(pd.DataFrame(rollout.mixed_history(past, bank, 3)))
    trained = training.train(log, seed=3)
    # as many rows as a group of the middle holds: about half of each decision is the prior's
    half = float(np.median([max(rows) for rows in trained.model.group_rows.values()]))
    model = replace(trained.model, prior_rows=half)
    return model, [view_of(case.row, trained.rows.record) for case in later]


@pytest.fixture(scope="module", params=POPULATIONS)
def town(request: pytest.FixtureRequest) -> Town:
    return town_of(request.param, invoices=450, cases=60)


def points(told: Iterable[Reason]) -> float:
    return sum(reason.points or 0.0 for reason in told)


def gap_of(told: Sequence[Reason]) -> float | None:
    """The chance less the alternative's in points, as the decision itself states them."""
    found = re.match(r"(\d+)%, preferred to (\d+)%", told[-1].text)
    return float(found[1]) - float(found[2]) if found else None


def test_points_add_up_to_what_decided_and_have_its_sign(town: Town) -> None:
    model, views = town
    compared = weighed = 0
    for decision in planner.decide_many(views, policy=Policy(), model=model):
        if decision.kind is not DecisionKind.RETRY:
            continue
        gap = gap_of(decision.reasons)
        if gap is None:
            continue
        compared += 1
        total = points(decision.reasons)
        # either share is rounded to a point; what is too small to be named is left out
        assert total == pytest.approx(gap, abs=1.06)
        assert total * gap > 0 or abs(gap) <= 1
        assert all(abs(reason.points or 0.0) <= 97 for reason in decision.reasons)
        weighed += any("rather than" in r.text and r.text.startswith("how much") for r in
                       decision.reasons)  # fmt: skip
    assert compared > len(views) / 2
    assert weighed, "the pooling is a term of its own somewhere"


def test_what_the_log_does_not_speak_of_has_no_points_of_the_trees(town: Town) -> None:
    model, views = town
    view = views[0]
    method = view.payment_methods[0]
    one = method, view.now
    two = method, view.deadline_at
    exact = reasons.contrast(model, view, one, two)
    slots = np.array([view.now.timestamp(), view.deadline_at.timestamp()])
    chance = model.success_probability(view, method, slots)
    assert points(exact) == pytest.approx(100 * float(chance[0] - chance[1]), abs=1e-6)
    # nothing learnt at all: not one point is the trees'
    bare = replace(model, group_rows={}, prior_offsets={})
    told = reasons.contrast(bare, view, one, two)
    chance = bare.success_probability(view, method, slots)
    assert len(told) <= 1
    assert points(told) == pytest.approx(100 * float(chance[0] - chance[1]), abs=1e-6)


class _Flat:
    """Trees that know nothing."""

    def log_hazard(self, rows: Any) -> Any:
        return np.zeros(len(rows))

    def contributions(self, row: Any, background: Any) -> Any:
        return np.zeros(row.shape[1])


def test_where_only_the_weight_differs_it_is_named_alone(town: Town) -> None:
    model, views = town
    view = next(v for v in views if len(v.attempts) == 1)
    method = view.payment_methods[0]
    known = replace(
        model, trees=_Flat(), prior_offsets={},
        calibrator=replace(model.calibrator, intercept=-1.0, prior_slope=1.0),
    )  # fmt: skip
    told = reasons.contrast(known, view, (method, view.now), (method, view.deadline_at))
    names = {reason.text.partition(":")[0] for reason in told}
    assert names <= {
        "what is generally known of such declines",
        "how much your own history tells of such charges",
    }
