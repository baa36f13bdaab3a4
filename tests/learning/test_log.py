"""Files of the attempt log: what is believed, what is refused, what is safe to open."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from retry_engine.domain.errors import InvalidInput
from retry_engine.learning import log

NASTY = ("=1+1", "+49", "-x", "@SUM(A1)", "'=1", "''", "'", "it's", "plain", "'quoted")


def _row(**more: Any) -> dict[str, Any]:
    return {
        "invoice_id": "in_1",
        "customer_id": "cus_1",
        "kind": "attempt",
        "at": "2026-01-01T00:00:00Z",
        "amount": 2900,
        "currency": "eur",
        "outcome": "failed",
        **more,
    }


def _csv(path: Path, amount: str) -> Path:
    rows = [_row(), _row(invoice_id="in_2", amount=amount)]
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("amount", ["29.00", "29.0", "29.", "2,900", "2.9e3", "-1", "nan", "²"])
def test_an_amount_that_is_no_whole_number_of_minor_units_is_a_bad_row(
    tmp_path: Path, amount: str
) -> None:
    with pytest.raises(InvalidInput, match=r"line 3, amount: expected a whole number"):
        log.validate(log.read(_csv(tmp_path / "log.csv", amount)))


def test_whole_numbers_with_gaps_as_pandas_writes_them_are_minor_units(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    gaps: Any = [2900.0, np.nan, 100.0]
    rows = pd.DataFrame([_row(), _row(kind="message", outcome=""), _row(invoice_id="in_2")])
    rows.assign(amount=gaps).to_csv(path, index=False)
    assert "2900.0" in path.read_text()
    assert log.validate(log.read(path))[0]["amount"].dropna().tolist() == [2900, 100]


def test_the_type_of_a_column_says_what_a_number_is(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    gaps: Any = [2900.0, np.nan]  # what pandas makes of whole numbers with a gap
    frame = pd.DataFrame([_row(), _row(kind="message", outcome="")])
    frame["amount"] = gaps
    frame.to_parquet(path)
    assert log.validate(log.read(path))[0]["amount"].tolist()[0] == 2900
    bad: Any
    for bad in (["29.00", "29.00"], [Decimal("29.00"), Decimal("29.00")]):
        frame["amount"] = bad
        frame.to_parquet(path)
        with pytest.raises(InvalidInput, match="line 2, amount"):
            log.validate(log.read(path))


def test_an_export_is_no_formula_and_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = [_row(invoice_id=text, decline_code=text, amount=n) for n, text in enumerate(NASTY, 1)]
    before, _ = log.validate(pd.DataFrame(rows))
    path = tmp_path / "log.csv"
    log.write(before, path)
    cells = pd.read_csv(path, dtype=str, keep_default_na=False)
    formulas = cells.map(lambda cell: cell.startswith(("=", "+", "-", "@", "\t", "\r")))
    assert not formulas.to_numpy().any()
    after, _ = log.validate(log.read(path))
    pd.testing.assert_frame_equal(before, after, check_dtype=False)


def _many_rows(path: Path, rows: int) -> Path:
    texts = [pa.array(["x"]).take(pa.array(np.zeros(rows, dtype=np.int64)))] * 2
    parquet.write_table(pa.table(texts, names=["invoice_id", "customer_id"]), path)
    return path


def test_a_small_file_of_many_rows_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "MAX_ROWS", 100_000)
    path = _many_rows(tmp_path / "log.parquet", 100_001)
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", _must_not_be_read)
    with pytest.raises(InvalidInput, match=r"at most 100,000 rows, found 100,001"):
        log.read(path)


def _must_not_be_read(*_: Any, **__: Any) -> Any:
    raise AssertionError("its rows were read")


def test_a_long_text_that_many_rows_share_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    text = pa.array(["x" * 5_000]).take(pa.array(np.zeros(2_000, dtype=np.int64)))
    parquet.write_table(pa.table([text], names=["invoice_id"]), path)
    with pytest.raises(InvalidInput, match="characters in a cell"):
        log.read(path)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_too_many_columns_are_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"log.{ending}"
    frame = pd.DataFrame({f"c{n}": ["x"] for n in range(log.MAX_COLUMNS + 1)})
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    with pytest.raises(InvalidInput, match="at most 200 columns, found 201"):
        log.read(path)


def test_a_long_csv_is_refused_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.csv"
    path.write_text("invoice_id\n" + "in_1\n" * 1000)
    monkeypatch.setattr(log, "_CHUNK", 100)
    monkeypatch.setattr(log, "MAX_ROWS", 500)
    with pytest.raises(InvalidInput, match="at most 500 rows, found 600 or more"):
        log.read(path)


def test_what_is_compressed_is_no_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "log.csv.gz"
    pd.DataFrame([_row()]).to_csv(path, index=False)
    with pytest.raises(InvalidInput, match="expected a CSV file"):
        log.read(path)
