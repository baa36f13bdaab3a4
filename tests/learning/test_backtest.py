from dataclasses import replace
from datetime import UTC, datetime

import backtest_truth
import numpy as np
import pandas as pd
import pytest
from simulators import rollout

from retry_engine import evaluation
from retry_engine.decisioning import features
from retry_engine.domain.errors import CannotLearn
from retry_engine.domain.policy import Policy
from retry_engine.learning import backtest, card, drift, episodes, plot, split, training
from retry_engine.learning.log import validate
from retry_engine.learning.training import Trained

pytestmark = pytest.mark.integration

START = datetime(2025, 1, 6, 6, tzinfo=UTC)
SEED = 4


@pytest.fixture(scope="module")
def past() -> tuple[list[rollout.Case], rollout.Charge]:
    return backtest_truth.population("households", SEED, 2000)


@pytest.fixture(scope="module")
def log(past: tuple[list[rollout.Case], rollout.Charge]) -> pd.DataFrame:
    return validate(pd.DataFrame(rollout.mixed_history(*past, SEED)))[0]


@pytest.fixture(scope="module")
def trained(log: pd.DataFrame) -> Trained:
    return training.train(log, seed=SEED)


@pytest.fixture(scope="module")
def parted(log: pd.DataFrame, trained: Trained) -> split.Split:
    return split.by_time(log, trained.rows, seed=SEED)


@pytest.fixture(scope="module")
def document(log: pd.DataFrame, trained: Trained) -> card.Document:
    return card.of_training(trained, log, policy=Policy(), seed=SEED)


@pytest.fixture(scope="module")
def found(log: pd.DataFrame, trained: Trained, parted: split.Split) -> backtest.Backtest:
    return backtest.run(
        log, trained.rows, model=parted.earlier.model, since=parted.cut, policy=Policy(),
        seed=SEED, decided_by="the model of earlier cases",
    )  # fmt: skip


def test_the_estimate_puts_policies_in_the_order_of_their_true_values(
    past: tuple[list[rollout.Case], rollout.Charge], parted: split.Split, found: backtest.Backtest
) -> None:
    """The truth: the same cases, played against the bank of the simulated population."""
    by_id = {case.row["invoice_id"]: case for case in past[0]}
    cases = [by_id[episode.view.invoice_id] for episode in found.cases]
    learnt = evaluation.LearntPolicy(Policy(), parted.earlier.model, parted.earlier.rows.record)
    truth = {
        "learnt": backtest_truth.truth_of(cases, past[1], learnt),
        "fixed": backtest_truth.truth_of(cases, past[1], evaluation.fixed_schedule()),
    }
    told = found.card["policies"]
    assert told["fixed"]["net_per_case"] < told["learnt"]["net_per_case"]
    assert truth["fixed"] < truth["learnt"]
    assert found.card["differences"]["learnt - fixed"]["low"] > 0
    for name, value in truth.items():
        assert 0.7 * value < told[name]["net_per_case"] < 1.2 * value


def test_later_cases_only_are_played_and_none_that_the_deciding_model_has_seen(
    parted: split.Split, found: backtest.Backtest
) -> None:
    assert all(episode.view.opened_at >= parted.cut for episode in found.cases)
    assert parted.earlier.rows.at.max() < parted.cut.timestamp()
    assert not {o.view.invoice_id for o in found.cases} & set(parted.earlier.rows.ids)


def test_an_interval_holds_its_estimate_and_says_what_it_is_of(found: backtest.Backtest) -> None:
    for row in (*found.card["policies"].values(), *found.card["differences"].values()):
        assert row["low"] < row["net_per_case"] < row["high"]
    assert "off-policy estimate" in found.card["kind"]
    assert "bias" in str(list(found.card))


def test_a_logged_propensity_corrects_the_first_retry() -> None:
    """One case, charged as the policy would have: a surprise moves the estimate by its weight."""
    past, bank = backtest_truth.population("households", 9, 60)
    log, _ = validate(pd.DataFrame(rollout.mixed_history(past, bank, 9)))
    opening = replace(
        episodes.episodes_of(log, {log["invoice_id"][0]}, horizon=rollout.HORIZON)[0],
        first=episodes.FirstRetry(log["at"][0].to_pydatetime(), "pm", won=True, propensity=1 / 12),
    )
    assert opening.first is not None
    trajectory = backtest.Trajectory(opening.view, [], 0, left=0.6, net=350.0)
    trajectory.first = ((opening.first.at, "pm"), 0.4, 1000.0, 390.0)
    result = backtest.Played(np.array([350.0]), np.array([0.4]), np.array([1.0]))
    assert backtest.correct_by_propensity(result, [trajectory], [opening]) == 1
    # six hours at 1/12 an hour: weight 2; a success is worth 1000, a failure -40 / 0.6
    assert result.net[0] == pytest.approx(350 + 2 * 0.6 * (1000 + 40 / 0.6))


def test_too_few_later_cases_give_no_backtest(log: pd.DataFrame, trained: Trained) -> None:
    late = datetime.fromtimestamp(float(np.quantile(trained.rows.opened, 0.99)), UTC)
    with pytest.raises(CannotLearn):
        backtest.run(
            log, trained.rows, model=trained.model, since=late, policy=Policy(), seed=0,
            decided_by="",
        )  # fmt: skip


# -- the card


def test_the_card_is_whole_and_each_part_says_what_it_was_computed_on(
    document: card.Document,
) -> None:
    assert sum(row["attempts"] for row in document["calibration"]) == document["retries_used"]
    assert all(row["low"] <= row["came"] <= row["high"] for row in document["calibration"])
    for part in (document, document["later"]):
        assert 0.5 < part["concordance"] < 1
        assert 0 < part["integrated_brier"]["value"] < part["integrated_brier"]["reference"]
    assert {f["feature"] for f in document["top_features"]} <= {f.name for f in features.features()}
    assert all("judged_on" in document[name] for name in ("later", "backtest"))
    assert 0 < sum(row["left"] for row in document["leaving"]) < document["cases"]
    assert "judged_on" in document


def test_the_card_is_the_same_by_seed(document: card.Document, found: backtest.Backtest) -> None:
    again = {k: v for k, v in found.card.items() if k != "decided_by"}
    assert again == {k: v for k, v in document["backtest"].items() if k != "decided_by"}


def test_a_log_too_short_for_a_split_says_what_was_not_measured(log: pd.DataFrame) -> None:
    few = log.head(560)
    document = card.of_training(training.train(few, seed=0), few, policy=Policy(), seed=0)
    assert "backtest" not in document
    assert "backtest" in document["not_measured"][0]


def test_the_plot_is_a_png_of_some_size(document: card.Document) -> None:
    image = plot.calibration(document)
    assert image.startswith(b"\x89PNG\r\n")
    width, height = (int.from_bytes(image[at : at + 4], "big") for at in (16, 20))
    assert width > 1000
    assert height > 600


# -- drift


def test_training_data_does_not_drift_from_itself(log: pd.DataFrame, trained: Trained) -> None:
    known = drift.reference(trained, log)
    top = [f.name for f in features.features()]
    rows = trained.rows
    assert drift.judge_features(rows, known, top)["verdict"] == drift.OK
    assert drift.judge_codes(log, known)["verdict"] == drift.OK
    assert drift.judge_brier(trained.chance, rows.won, known)["verdict"] == drift.OK


def test_features_that_have_moved_ask_for_training(log: pd.DataFrame, trained: Trained) -> None:
    known = drift.reference(trained, log)
    x = trained.rows.x.copy()
    column = next(i for i, f in enumerate(features.features()) if f.name == "log_amount")
    x[:, column] += 2.0
    part = drift.judge_features(replace(trained.rows, x=x), known, ["log_amount"])
    assert part["verdict"] == drift.RETRAIN
    assert part["features"][0]["feature"] == "log_amount"
    elsewhere = drift.judge_features(replace(trained.rows, x=x), known, ["log_tenure"])
    assert elsewhere["verdict"] == drift.OK


def test_what_differs_in_any_month_is_no_drift(log: pd.DataFrame, trained: Trained) -> None:
    rows = trained.rows
    known = drift.reference(trained, log)
    last = rows.at > rows.at.max() - 30 * 86_400.0
    part = drift.judge_features(
        split.of_rows(rows, last), known, [f.name for f in features.features()]
    )
    days = next(row for row in part["features"] if row["feature"] == "day_of_month")
    assert days["psi"] > 0.25
    assert part["verdict"] == drift.OK


def test_new_codes_and_rare_kinds_are_named(log: pd.DataFrame, trained: Trained) -> None:
    known = drift.reference(trained, log)
    changed = log.assign(decline_code=log["decline_code"].replace("generic_decline", "brand_new"))
    assert set(drift.judge_codes(changed, known)["new"]) == {"brand_new"}
    rare = replace(trained.rows, group_rows={"tried:never_met": [5.0], **trained.rows.group_rows})
    part = drift.judge_groups(rare, known)
    assert "tried:never_met" in part["rare"]


@pytest.mark.parametrize(
    ("promised", "came", "verdict"), [(0.5, 0.5, "ok"), (0.5, 0.44, "watch"), (0.5, 0.3, "retrain")]
)
def test_promises_are_judged_by_what_came(promised: float, came: float, verdict: str) -> None:
    rows = [{"promised": promised, "won": n < 3000 * came} for n in range(3000)]
    part = drift.judge_promises(rows)
    assert part["verdict"] == verdict
    assert part["low"] < promised - came < part["high"]


def test_a_handful_of_promises_tells_nothing() -> None:
    part = drift.judge_promises([{"promised": 0.9, "won": False}] * 20)
    assert part["verdict"] == "ok"
    assert "too few" in part["detail"]


def test_minor_units_of_two_currencies_are_never_added_up() -> None:
    """A yen has no minor units: a hundred times as many of them are worth a dollar's cent."""
    owed = np.array([1000.0, 3000.0, 150_000.0, 250_000.0])
    currencies = np.array(["usd", "usd", "jpy", "jpy"])
    unit = backtest.fair_units(owed, currencies)
    assert (owed * unit).tolist() == [50.0, 150.0, 75.0, 125.0]
    assert backtest.fair_units(owed[:2], currencies[:2]).tolist() == [1.0, 1.0]
