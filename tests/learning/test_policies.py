from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from simulators import rollout
from simulators.daily_balance import daily_balance

from retry_engine import evaluation
from retry_engine.domain.errors import BadRequest, InvalidInput

START = datetime(2025, 1, 6, 6, tzinfo=UTC)
Town = tuple[pd.DataFrame, list[rollout.Case], rollout.Charge]


@pytest.fixture(scope="module")
def town() -> Town:
    past, cases, bank = daily_balance(7, 1500, test=300, since=START)
    return pd.DataFrame(rollout.mixed_history(past, bank, 7)), cases, bank


@pytest.fixture(scope="module")
def learnt(town: Town) -> evaluation.LearntPolicy:
    return evaluation.train_policy(town[0], seed=1)


def test_what_was_learnt_is_worth_more_than_a_fixed_schedule(
    town: Town, learnt: evaluation.LearntPolicy
) -> None:
    _, cases, bank = town
    ours = rollout.play(cases, bank, learnt)
    fixed = rollout.play(cases, bank, evaluation.fixed_schedule())
    assert ours.net > fixed.net
    assert ours.attempts <= 2.5
    assert (ours.breaches, fixed.breaches) == (0, 0)


def test_training_is_the_same_by_seed(town: Town, learnt: evaluation.LearntPolicy) -> None:
    again = evaluation.train_policy(town[0].sample(frac=1.0, random_state=3), seed=1)
    cases = pd.DataFrame([c.row for c in town[1][:40]])
    pd.testing.assert_frame_equal(learnt.decide(cases), again.decide(cases))


def test_cases_together_get_the_answers_they_get_alone(
    town: Town, learnt: evaluation.LearntPolicy
) -> None:
    cases = pd.DataFrame([c.row for c in town[1][:25]])
    together = learnt.decide(cases)
    alone = pd.concat([learnt.decide(cases.iloc[[i]]) for i in range(len(cases))])
    pd.testing.assert_frame_equal(together, alone.reset_index(drop=True))


def test_the_table_is_as_promised(town: Town, learnt: evaluation.LearntPolicy) -> None:
    cases = pd.DataFrame([c.row for c in town[1][:50]])
    plans = learnt.decide(cases)
    assert list(plans["case_id"]) == list(cases["case_id"])
    assert list(plans.columns) == list(evaluation.COLUMNS)
    planned = plans[plans["retry_at"].notna()]
    assert len(planned) > 10
    assert planned["success_probability"].between(0, 1).all()
    assert (planned["retry_at"] >= cases.loc[planned.index, "now"]).all()


def test_a_log_too_small_leaves_the_prior_in_charge(town: Town) -> None:
    few = evaluation.train_policy(town[0].head(40))
    cases = pd.DataFrame([c.row for c in town[1][:20]])
    given = few.decide(cases)
    assert set(given["model_version"]) == {"prior-1"}


def test_a_log_whose_rows_come_twice_teaches_the_same(town: Town) -> None:
    """As of two exports that overlap: else every chance would be held twice as surely."""
    few = town[0].head(900)
    cases = pd.DataFrame([c.row for c in town[1][:40]])
    doubled = pd.concat([few, few.sample(frac=0.6, random_state=1)], ignore_index=True)
    once, twice = (
        evaluation.train_policy(log, seed=0).decide(cases).drop(columns="model_version")
        for log in (few, doubled)
    )
    pd.testing.assert_frame_equal(once, twice)


def test_codes_and_countries_nobody_has_met_do_not_stop_it(
    town: Town, learnt: evaluation.LearntPolicy
) -> None:
    row = rollout.copy_of(town[1][0].row)
    row["attempts"][0] |= {"decline_code": "brand_new_code", "card_country": "ZZ"}
    row |= {"customer_country": "ZZ", "customer_timezone": "Nowhere/Land", "customer_id": "nobody"}
    row["attempts"][0]["at"] = row["opened_at"]
    [plan] = learnt.decide(pd.DataFrame([row])).to_dict("records")
    assert np.isfinite(plan["expected_value"])


def test_bad_tables_and_settings_are_refused_by_name(town: Town) -> None:
    with pytest.raises(InvalidInput, match="missing required column"):
        evaluation.train_policy(town[0].drop(columns=["at"]))
    with pytest.raises(BadRequest, match="atempt_cost"):
        evaluation.train_policy(town[0], config={"atempt_cost": 3})


def test_the_fixed_schedule_keeps_its_days(town: Town) -> None:
    case = next(c for c in town[1] if c.row["attempts"][0]["decline_code"] == "insufficient_funds")
    [plan] = evaluation.fixed_schedule().decide(pd.DataFrame([case.row])).to_dict("records")
    waited = plan["retry_at"] - case.row["opened_at"]
    assert timedelta(days=3) <= waited < timedelta(days=5)


def _randomised_offers(invoices: int) -> pd.DataFrame:
    """Dead cards: half the customers are new, and only these pay more with money off."""
    rng = np.random.default_rng(4)
    rows: list[dict[str, object]] = []
    for number in range(invoices):
        at = START + timedelta(hours=number)
        new = number % 2 == 0
        about = {"invoice_id": f"in_o{number}", "customer_id": f"cus_o{number}"}
        rows.append({**about, "kind": "attempt", "at": at, "amount": 4000, "currency": "eur",
                     "outcome": "failed", "decline_code": "expired_card",
                     "payment_method_id": f"pm_o{number}", "method_type": "card",
                     "customer_since": at - timedelta(days=30 if new else 900)})  # fmt: skip
        said = {**about, "at": at + timedelta(days=1), "propensity": 1 / 3}
        off = int(rng.choice([0, 400, 800]))
        rows.append({**said, "kind": "offer", "amount": off, "currency": "eur"} if off
                    else {**said, "kind": "message"})  # fmt: skip
        if rng.random() < (0.1 + (0.4 if new and off else 0.0)):
            rows.append({**about, "kind": "attempt", "at": at + timedelta(days=2),
                         "amount": 4000 - off, "currency": "eur", "outcome": "succeeded",
                         "source": "customer", "payment_method_id": f"pm_n{number}",
                         "method_type": "card"})  # fmt: skip
    return pd.DataFrame(rows)


def test_offers_are_learnt_and_made_only_to_whom_they_move(town: Town) -> None:
    log = pd.concat([town[0], _randomised_offers(2000)], ignore_index=True)
    policy = evaluation.train_policy(log, config={"offers_enabled": True}, seed=1)
    row = rollout.copy_of(town[1][0].row)
    opened = row["opened_at"]
    row |= {"now": opened + timedelta(days=4), "messages": [{"at": opened + timedelta(hours=6)}],
            "amount": 4000, "currency": "eur", "offers": []}  # fmt: skip
    row["attempts"][0] |= {"decline_code": "expired_card", "amount": 4000, "currency": "eur"}
    row["attempts"] = row["attempts"][:1]
    new = {**row, "customer_id": "new", "customer_since": opened - timedelta(days=30)}
    old = {**row, "customer_id": "old", "customer_since": opened - timedelta(days=900)}
    had = {**new, "offers": [{"at": opened + timedelta(hours=6), "amount": 400, "state": "open"}]}
    plans = policy.decide(pd.DataFrame([new, old, had]))
    assert plans["message_at"].notna().all()
    assert list(plans["discount"]) == [800, 0, 0]
    assert list(plans["propensity"]) == [1.0, 1.0, 1.0]
    silent = evaluation.train_policy(log, seed=1).decide(pd.DataFrame([new]))
    assert list(silent["discount"]) == [0]
