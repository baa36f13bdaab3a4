import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from simulators import rollout
from simulators.daily_balance import daily_balance
from sqlalchemy import Connection, text

from retry_engine.domain.errors import CannotLearn, InvalidInput, NotFound, Refused
from retry_engine.learning.log import read, validate, write
from retry_engine.learning.model_registry import ModelRegistry
from retry_engine.learning.serving import ActiveModel
from retry_engine.store.database import Database

START = datetime(2025, 1, 6, 6, tzinfo=UTC)
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def log() -> pd.DataFrame:
    past, _, bank = daily_balance(13, 500, test=1, since=START)
    return validate(pd.DataFrame(rollout.mixed_history(past, bank, 13)))[0]


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 6, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(database_url: str, clock: Clock) -> Iterator[ModelRegistry]:
    database = Database(database_url)
    yield ModelRegistry(database, clock)
    database.close()


@pytest.fixture
def csv(log: pd.DataFrame, tmp_path: Path) -> Path:
    write(log, tmp_path / "log.csv")
    return tmp_path / "log.csv"


def test_importing_a_file_twice_changes_nothing(
    registry: ModelRegistry, csv: Path, log: pd.DataFrame
) -> None:
    assert registry.import_files([csv])["new"] == len(log)
    assert registry.import_files([csv])["new"] == 0
    assert len(registry.whole_log()) == len(log)


def test_several_files_are_taken_in_together(
    registry: ModelRegistry, csv: Path, tmp_path: Path
) -> None:
    lines = csv.read_text().splitlines()
    for name, part in (("a.csv", lines[1:40]), ("b.csv", lines[40:80])):
        (tmp_path / name).write_text("\n".join([lines[0], *part]))
    found = registry.import_files([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert [file["new"] for file in found["files"]] == [39, 40]


def test_a_charge_that_files_name_counts_once_and_its_answer_still_comes(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    def imported(*lines: str) -> int:
        head = "kind,invoice_id,customer_id,at,amount,currency,outcome,close_reason,charge_id,"
        path = tmp_path / "named.csv"
        path.write_text("\n".join([head + "decline_code", *lines]))
        return int(registry.import_files([path])["new"])

    on_its_way = "attempt,in_1,cus_1,2026-03-02T06:00:00Z,2000,eur,processing,,py_1,"
    answer = "attempt,in_1,cus_1,2026-03-08T06:00:00Z,2000,eur,failed,,py_1,insufficient_funds"
    given_up = "closed,in_1,cus_1,2026-03-09T06:00:00Z,,,,uncollectible,,"
    paid = "closed,in_1,cus_1,2026-03-12T06:00:00Z,,,,recovered,,"
    assert imported(on_its_way) == 1
    assert imported(on_its_way, answer, given_up) == 2
    assert imported(answer.replace("insufficient_funds", "generic_decline")) == 0
    assert imported(paid) == 0  # in place of the other end
    assert imported(given_up) == 0
    log = registry.whole_log()
    assert list(log["outcome"]) == ["processing", "failed", ""]
    assert list(log["decline_code"]) == ["", "insufficient_funds", ""]
    assert log["close_reason"].iloc[-1] == "recovered"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_exported_can_be_imported(
    registry: ModelRegistry, csv: Path, log: pd.DataFrame, tmp_path: Path, suffix: str
) -> None:
    registry.import_files([csv])
    out = tmp_path / f"out{suffix}"
    registry.export_file(out)
    again, aside = validate(read(out))
    pd.testing.assert_frame_equal(again, log, check_dtype=False)
    assert aside == []
    assert registry.import_files([out])["new"] == 0


def test_one_bad_file_leaves_all_of_them_out(
    registry: ModelRegistry, csv: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.csv"
    rows = csv.read_text().splitlines()
    rows[5] = rows[5].replace("attempt", "atempt", 1)
    bad.write_text("\n".join(rows))
    with pytest.raises(InvalidInput, match=r"line 6, kind"):
        registry.import_files([csv, bad])
    assert len(registry.whole_log()) == 0


def test_a_card_number_anywhere_refuses_the_file(
    registry: ModelRegistry, csv: Path, tmp_path: Path
) -> None:
    frame = pd.read_csv(csv, dtype=str, keep_default_na=False).head(3)
    frame["remark"] = ["", "4242 4242 4242 4242", ""]
    frame.to_csv(tmp_path / "card.csv", index=False)
    with pytest.raises(InvalidInput, match=r"line 3, column remark.*card number") as told:
        registry.import_files([tmp_path / "card.csv"])
    assert "4242" not in str(told.value)


def test_unknown_columns_are_put_aside_and_named(
    registry: ModelRegistry, csv: Path, tmp_path: Path
) -> None:
    frame = pd.read_csv(csv, dtype=str, keep_default_na=False).head(3).assign(mood="fine")
    frame.to_csv(tmp_path / "more.csv", index=False)
    [file] = registry.import_files([tmp_path / "more.csv"])["files"]
    assert file["columns_aside"] == ["mood"]


def test_a_model_is_stored_promoted_used_and_taken_back(
    registry: ModelRegistry, csv: Path, clock: Clock
) -> None:
    registry.import_files([csv])
    version = registry.train(seed=0, promote=False, on_progress=lambda _: None)["version"]
    serve = ActiveModel(registry.database, clock)
    assert serve() is None
    registry.promote(version)
    clock.now += timedelta(seconds=6)
    model = serve()
    assert model is not None
    assert model.version == version
    assert serve() is model
    assert registry.rollback() == {"active": None}
    clock.now += timedelta(seconds=6)
    assert serve() is None
    with pytest.raises(Refused, match="no model is active"):
        registry.rollback()


def test_the_prior_takes_over_from_a_model_that_cannot_be_read(
    registry: ModelRegistry, csv: Path, clock: Clock
) -> None:
    registry.import_files([csv])
    version = registry.train(seed=0, promote=True, on_progress=lambda _: None)["version"]
    with registry.database.transaction() as connection:
        connection.execute(text("update models set file = 'nonsense'::bytea"))
    assert ActiveModel(registry.database, clock)() is None
    with pytest.raises(InvalidInput, match="hash differs"):
        registry.promote(version)


def _trained(registry: ModelRegistry, csv: Path) -> str:
    registry.import_files([csv])
    return str(registry.train(seed=0, promote=True, on_progress=lambda _: None)["version"])


def test_the_plot_is_stored_with_the_card_and_written_to_a_file(
    registry: ModelRegistry, csv: Path, tmp_path: Path
) -> None:
    version = _trained(registry, csv)
    registry.write_plot(version, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InvalidInput, match="cannot be written"):
        registry.write_plot(version, tmp_path / "nowhere" / "plot.png")
    with registry.database.transaction() as connection:
        connection.execute(text("update models set plot = null, reference = null"))
    with pytest.raises(Refused, match="without a plot"):
        registry.write_plot(version, tmp_path / "plot.png")
    with pytest.raises(Refused, match="drift"):
        registry.drift(since=None)


def test_figures_on_training_data_are_called_that(registry: ModelRegistry, csv: Path) -> None:
    version = _trained(registry, csv)
    found = registry.evaluate(version)
    assert found["on_training_data"] is True
    assert "these figures flatter" in found["judged_on"]
    assert 0.5 < found["concordance"] <= 1


def test_cases_after_the_training_data_are_what_a_model_is_judged_on(
    registry: ModelRegistry, log: pd.DataFrame, tmp_path: Path
) -> None:
    cut = log["at"].quantile(0.7)
    write(log[log["at"] <= cut], tmp_path / "early.csv")
    version = _trained(registry, tmp_path / "early.csv")
    write(log[log["at"] > cut], tmp_path / "late.csv")
    registry.import_files([tmp_path / "late.csv"])
    found = registry.evaluate(version)
    assert found["on_training_data"] is False
    assert "after its training data ended" in found["judged_on"]
    assert 40 <= found["retries"] < (log["at"] > cut).sum()
    assert "backtest" in found["not_measured"][0]


def test_drift_compares_the_last_days_with_the_training_data(
    registry: ModelRegistry, csv: Path
) -> None:
    _trained(registry, csv)
    found = registry.drift(since=None)
    assert set(found["parts"]) == set(found["thresholds"])
    assert found["parts"]["promises"]["attempts"] == 0
    assert pd.Timestamp(found["to"]) - pd.Timestamp(found["since"]) == timedelta(days=30)
    assert found["parts"]["codes"]["verdict"] == "ok"
    with pytest.raises(CannotLearn, match="no retries since 2030-01-01"):
        registry.drift(since=datetime(2030, 1, 1, tzinfo=UTC))


def test_new_decline_codes_ask_for_training(
    registry: ModelRegistry, csv: Path, log: pd.DataFrame, tmp_path: Path
) -> None:
    _trained(registry, csv)
    later = log.tail(150).assign(at=log["at"].tail(150) + timedelta(days=90))
    later["invoice_id"] += "_b"
    declined = later["decline_code"] != ""
    later.loc[declined, "decline_code"] = "a_code_of_tomorrow"
    write(later, tmp_path / "later.csv")
    registry.import_files([tmp_path / "later.csv"])
    found = registry.drift(since=later["at"].min().to_pydatetime())
    assert found["parts"]["codes"]["verdict"] == "retrain"
    assert found["verdict"] == "retrain"
    assert "a_code_of_tomorrow" in found["parts"]["codes"]["detail"]


def test_drift_needs_a_model_and_attempts(registry: ModelRegistry) -> None:
    with pytest.raises(NotFound, match="no model is active"):
        registry.drift(since=None)


def test_promises_are_of_the_attempts_that_the_planner_chose_by_this_model(
    registry: ModelRegistry, csv: Path
) -> None:
    version = _trained(registry, csv)
    at = registry.clock() - timedelta(days=90)
    with registry.database.transaction() as connection:
        for number in range(60):
            _attempt(connection, number, at, version, by="anna" if number >= 55 else None)
        _attempt(connection, 99, at, "prior-1", by=None)
    part = registry.drift(since=at - timedelta(days=1))["parts"]["promises"]
    assert part["attempts"] == 55
    assert (part["promised"], part["came"]) == (0.9, 0.5091)
    assert part["verdict"] == "retrain"


def _attempt(
    connection: Connection, number: int, at: datetime, version: str, *, by: str | None
) -> None:
    """A closed case with an opening failure and one attempt on a decision."""
    given = {
        "case": f"c{number}", "invoice": f"in_{number}", "at": at, "then": at + timedelta(days=1),
        "version": version, "by": by, "won": "succeeded" if number % 2 == 0 else "failed",
    }  # fmt: skip
    for statement in (
        "insert into policies (version, content) values ('p', '{}') on conflict do nothing",
        "insert into cases (id, invoice_id, customer_id, state, mode, policy_version,"
        " amount_remaining, currency, opened_at, deadline_at) values (:case, :invoice, 'cus',"
        " 'open', 'takeover', 'p', 900, 'eur', :at, cast(:at as timestamptz) + interval '30 days')",
        "insert into attempts (case_id, customer_id, at, source, outcome, amount, currency,"
        " decline_code) values (:case, 'cus', :at, 'stripe', 'failed', 900, 'eur',"
        " 'insufficient_funds')",
        "insert into decisions (case_id, at, kind, retry_at, success_probability, expected_value,"
        " propensity, policy_version, model_version, inputs, inputs_hash, candidates, reasons)"
        " values (:case, :at, 'retry', :then, 0.9, 1, 1, 'p', :version, '{}', '', '[]', '[]')",
        "insert into actions (case_id, kind, state, due_at, decision_id, requested_by)"
        " select :case, 'retry', 'done', :then, max(id), :by from decisions where case_id = :case",
        "insert into attempts (case_id, customer_id, sequence, idempotency_key, at, sent_at,"
        " source, outcome, amount, currency, payment_method_id, action_id, decline_code)"
        " select :case, 'cus', 1, :case, :then, :then, 'engine', :won, 900, 'eur', 'pm', max(id),"
        " case when :won = 'failed' then 'insufficient_funds' end from actions"
        " where case_id = :case",
    ):
        connection.execute(text(statement), given)


def test_how_the_engines_own_cases_ended_is_in_the_log(registry: ModelRegistry) -> None:
    at = registry.clock() - timedelta(days=9)
    with registry.database.transaction() as connection:
        _attempt(connection, 1, at, "prior-1", by=None)
        connection.execute(
            text(
                "update cases set state = 'closed', close_reason = 'subscription_ended',"
                " closed_at = :then"
            ),
            {"then": at + timedelta(days=4)},
        )
    [closed] = registry.whole_log().query("kind == 'closed'").to_dict("records")
    assert (closed["invoice_id"], closed["close_reason"]) == ("in_1", "churned")


def test_nothing_draws_before_a_plot_is_asked_for() -> None:
    code = (
        "import sys, retry_engine.learning.model_registry, retry_engine.bootstrap;"
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_model_is_named(registry: ModelRegistry) -> None:
    with pytest.raises(NotFound, match="'nothing'"):
        registry.promote("nothing")
