from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import arena
import pandas as pd
import pytest
from sqlalchemy import text

from retry_engine.domain.errors import InvalidInput, NotFound, Refused
from retry_engine.learning.desk import Desk
from retry_engine.learning.log import read, validate, write
from retry_engine.store.database import Database

START = datetime(2025, 1, 6, 6, tzinfo=UTC)
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def log() -> pd.DataFrame:
    past, _, bank = arena.households(13, 500, test=1, since=START)
    return validate(pd.DataFrame(arena.mixed_history(past, bank, 13)))[0]


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 6, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(database_url: str, clock: Clock) -> Iterator[Desk]:
    database = Database(database_url)
    yield Desk(database, clock)
    database.close()


@pytest.fixture
def csv(log: pd.DataFrame, tmp_path: Path) -> Path:
    write(log, tmp_path / "log.csv")
    return tmp_path / "log.csv"


def test_importing_a_file_twice_changes_nothing(desk: Desk, csv: Path, log: pd.DataFrame) -> None:
    assert desk.import_files([csv])["new"] == len(log)
    assert desk.import_files([csv])["new"] == 0
    assert len(desk.whole_log()) == len(log)


def test_several_files_are_taken_in_together(desk: Desk, csv: Path, tmp_path: Path) -> None:
    lines = csv.read_text().splitlines()
    for name, part in (("a.csv", lines[1:40]), ("b.csv", lines[40:80])):
        (tmp_path / name).write_text("\n".join([lines[0], *part]))
    found = desk.import_files([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert [file["new"] for file in found["files"]] == [39, 40]


def test_a_charge_that_files_name_counts_once_and_its_answer_still_comes(
    desk: Desk, tmp_path: Path
) -> None:
    def imported(*lines: str) -> int:
        head = "kind,invoice_id,customer_id,at,amount,currency,outcome,close_reason,charge_id,"
        path = tmp_path / "named.csv"
        path.write_text("\n".join([head + "decline_code", *lines]))
        return int(desk.import_files([path])["new"])

    on_its_way = "attempt,in_1,cus_1,2026-03-02T06:00:00Z,2000,eur,processing,,py_1,"
    answer = "attempt,in_1,cus_1,2026-03-08T06:00:00Z,2000,eur,failed,,py_1,insufficient_funds"
    given_up = "closed,in_1,cus_1,2026-03-09T06:00:00Z,,,,uncollectible,,"
    paid = "closed,in_1,cus_1,2026-03-12T06:00:00Z,,,,recovered,,"
    assert imported(on_its_way) == 1
    assert imported(on_its_way, answer, given_up) == 2
    assert imported(answer.replace("insufficient_funds", "generic_decline")) == 0
    assert imported(paid) == 0  # in place of the other end
    assert imported(given_up) == 0
    log = desk.whole_log()
    assert list(log["outcome"]) == ["processing", "failed", ""]
    assert list(log["decline_code"]) == ["", "insufficient_funds", ""]
    assert log["close_reason"].iloc[-1] == "recovered"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_exported_can_be_imported(
    desk: Desk, csv: Path, log: pd.DataFrame, tmp_path: Path, suffix: str
) -> None:
    desk.import_files([csv])
    out = tmp_path / f"out{suffix}"
    desk.export_file(out)
    again, aside = validate(read(out))
    pd.testing.assert_frame_equal(again, log, check_dtype=False)
    assert aside == []
    assert desk.import_files([out])["new"] == 0


def test_one_bad_file_leaves_all_of_them_out(desk: Desk, csv: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    rows = csv.read_text().splitlines()
    rows[5] = rows[5].replace("attempt", "atempt", 1)
    bad.write_text("\n".join(rows))
    with pytest.raises(InvalidInput, match=r"line 6, kind"):
        desk.import_files([csv, bad])
    assert len(desk.whole_log()) == 0


def test_a_card_number_anywhere_refuses_the_file(desk: Desk, csv: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(csv, dtype=str, keep_default_na=False).head(3)
    frame["remark"] = ["", "4242 4242 4242 4242", ""]
    frame.to_csv(tmp_path / "card.csv", index=False)
    with pytest.raises(InvalidInput, match=r"line 3, column remark.*card number") as told:
        desk.import_files([tmp_path / "card.csv"])
    assert "4242" not in str(told.value)


def test_unknown_columns_are_put_aside_and_named(desk: Desk, csv: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(csv, dtype=str, keep_default_na=False).head(3).assign(mood="fine")
    frame.to_csv(tmp_path / "more.csv", index=False)
    [file] = desk.import_files([tmp_path / "more.csv"])["files"]
    assert file["columns_aside"] == ["mood"]


def test_a_model_is_stored_promoted_used_and_taken_back(
    desk: Desk, csv: Path, clock: Clock
) -> None:
    desk.import_files([csv])
    version = desk.train(seed=0, promote=False, say=lambda _: None)["version"]
    assert desk.active_model() is None
    desk.promote(version)
    clock.now += timedelta(seconds=6)
    model = desk.active_model()
    assert model is not None
    assert model.version == version
    assert desk.active_model() is model
    assert desk.rollback() == {"active": None}
    clock.now += timedelta(seconds=6)
    assert desk.active_model() is None
    with pytest.raises(Refused, match="no model is active"):
        desk.rollback()


def test_the_prior_takes_over_from_a_model_that_cannot_be_read(
    desk: Desk, csv: Path, clock: Clock
) -> None:
    desk.import_files([csv])
    version = desk.train(seed=0, promote=True, say=lambda _: None)["version"]
    with desk.database.transaction() as connection:
        connection.execute(text("update models set file = 'nonsense'::bytea"))
    clock.now += timedelta(seconds=6)
    assert desk.active_model() is None
    with pytest.raises(InvalidInput, match="hash differs"):
        desk.promote(version)


def test_an_unknown_model_is_named(desk: Desk) -> None:
    with pytest.raises(NotFound, match="'nothing'"):
        desk.promote("nothing")
