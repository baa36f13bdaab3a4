"""The attempt log: one row an event of a failed invoice's life, checked before it is believed."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retry_engine.domain.errors import InvalidInput
from retry_engine.domain.vocabulary import (
    BillingInterval,
    LoggedEnd,
    LogKind,
    Outcome,
    Source,
)

REQUIRED = ("invoice_id", "customer_id", "kind", "at")
TEXTS = (
    "account", "decline_code", "advice_code", "network_advice_code", "network_decline_code",
    "risk_level", "payment_method_id", "method_type", "card_brand", "card_funding", "card_country",
    "card_exp", "card_fingerprint", "customer_country", "customer_timezone", "billing_reason",
    "billing_interval", "source", "outcome", "close_reason", "currency",
    # ours, and optional: a charge that came twice on different ways is one attempt
    "charge_id",
)  # fmt: skip
COLUMNS = (*REQUIRED, *TEXTS, "amount", "customer_since", "propensity")
_ONE_OF: Mapping[str, tuple[StrEnum, ...]] = {
    "kind": tuple(LogKind),
    "outcome": tuple(outcome for outcome in Outcome if outcome is not Outcome.UNKNOWN),
    "source": tuple(Source),
    "close_reason": tuple(LoggedEnd),
    "billing_interval": tuple(BillingInterval),
}
_NEEDED_BY = {
    LogKind.ATTEMPT: ("amount", "currency", "outcome"),
    LogKind.OFFER: ("amount", "currency"),
    LogKind.CLOSED: ("close_reason",),
}
_DIGITS = re.compile(r"(?<![A-Za-z0-9_])\d(?:[ -]?\d){12,18}(?![A-Za-z0-9_])")
_STRIPE_ID = re.compile(r"^[a-z]{2,10}_[A-Za-z0-9_]+$")


# What a file may hold: asked of a Parquet file's footer, counted on the way through a CSV file, so
# that 20 million rows out of a few kilobytes are refused before they fill the memory.
MAX_ROWS, MAX_COLUMNS, MAX_CELLS = 5_000_000, 200, 150_000_000
MAX_BYTES = 2 * 2**30
_MAX_TEXT = 4_000
_CHUNK = 50_000

# What a spreadsheet would take for a formula, and what hides one.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_QUOTED = re.compile(r"^'(?=[=+\-@\t\r\n'])")


def read(path: Path, *, name: str | None = None) -> pd.DataFrame:
    """A CSV or Parquet file's rows as text; `InvalidInput` where it is neither, or too large.

    `name` is what errors call it, where that is not its path.
    """
    name = name or str(path)
    if not path.is_file():
        raise InvalidInput(f"{name}: there is no such file")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return _read_parquet(path, name)
        return _read_csv(path, name)
    except (ValueError, OSError, ImportError, MemoryError) as error:  # of pandas and pyarrow
        detail = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        expected = "a CSV file with a header (UTF-8) or a Parquet file"
        raise InvalidInput(f"{name}: expected {expected}: {detail}") from None


def _read_csv(path: Path, name: str) -> pd.DataFrame:
    # never decompressed: what a few bytes unfold to would have to be counted first
    options: dict[str, Any] = {
        "dtype": str,
        "keep_default_na": False,
        "encoding": "utf-8-sig",
        "compression": None,
    }
    _refuse_too_large(name, size=path.stat().st_size)
    columns = len(pd.read_csv(path, nrows=0, **options).columns)
    _refuse_too_large(name, columns=columns)
    parts: list[pd.DataFrame] = []
    rows = 0
    with pd.read_csv(path, chunksize=_CHUNK, **options) as chunks:
        for part in chunks:
            rows += len(part)
            _refuse_too_large(name, rows=rows, columns=columns)
            parts.append(part)
    frame = pd.concat(parts, ignore_index=True) if parts else pd.read_csv(path, **options)
    return frame.map(_unquoted, na_action="ignore")


def _read_parquet(path: Path, name: str) -> pd.DataFrame:
    import pyarrow as pa  # noqa: PLC0415  # 0.2 s that only such a file needs
    from pyarrow import parquet  # noqa: PLC0415

    with parquet.ParquetFile(path) as file:
        about, schema = file.metadata, file.schema_arrow
        size = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
        _refuse_too_large(name, rows=about.num_rows, columns=about.num_columns, size=max(size, 0))
        texts = [
            field.name
            for field in schema
            if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        ]
    # a long text that is there once and meant a million times stays one text
    with parquet.ParquetFile(path, read_dictionary=texts) as file:
        parts: list[pd.DataFrame] = []
        taken = 0
        for batch in file.iter_batches(batch_size=_CHUNK):
            taken += batch.nbytes
            _refuse_too_large(name, size=taken)
            parts.append(_plain_texts(batch.to_pandas(), name))
    return pd.concat(parts, ignore_index=True) if parts else pd.read_parquet(path)


def _plain_texts(part: pd.DataFrame, name: str) -> pd.DataFrame:
    """Categories as the texts they stand for, which all rows share."""
    for column in part.columns:
        values = part[column]
        if isinstance(values.dtype, pd.CategoricalDtype):
            longest = max((len(str(value)) for value in values.cat.categories), default=0)
            if longest > _MAX_TEXT:
                raise InvalidInput(
                    f"{name}: column {column}: expected at most {_MAX_TEXT:,} characters in a "
                    f"cell, found {longest:,}"
                )
            part[column] = values.astype(object)
    return part


def _refuse_too_large(name: str, *, rows: int = 0, columns: int = 0, size: int = 0) -> None:
    found = (
        ("rows", rows, MAX_ROWS),
        ("columns", columns, MAX_COLUMNS),
        ("cells", rows * columns, MAX_CELLS),
        ("bytes", size, MAX_BYTES),
    )
    for what, count, most in found:
        if count > most:
            raise InvalidInput(
                f"{name}: expected at most {most:,} {what}, found {count:,} or more: "
                "import it in parts"
            )


def _unquoted(cell: str) -> str:
    return _QUOTED.sub("", cell, count=1)


def _harmless(cell: str) -> str:
    """A cell that a spreadsheet shows and does not execute; `read` takes the mark away again."""
    return f"'{cell}" if cell.startswith((*_FORMULA, "'")) else cell


def validate(frame: pd.DataFrame, *, name: str = "log") -> tuple[pd.DataFrame, list[str]]:
    """The log in its own types, sorted by time, and the columns that were put aside.

    Raises `InvalidInput` that names the missing column, or the first bad row by its line (the
    header is line 1). Nothing is changed in place.
    """
    missing = [column for column in REQUIRED if column not in frame.columns]
    if missing:
        raise InvalidInput(f"{name}: missing required column(s): {', '.join(missing)}")
    refuse_card_numbers(frame, name=name)
    aside = [str(column) for column in frame.columns if column not in COLUMNS]
    log = pd.DataFrame(index=pd.RangeIndex(len(frame)))
    for column in (*REQUIRED[:3], *TEXTS):
        log[column] = _texts(frame, column)
    log["currency"] = log["currency"].str.lower()
    for column in ("at", "customer_since"):
        log[column] = _times(frame, column, name)
    log["amount"] = _numbers(frame, "amount", name, whole=True)
    log["propensity"] = _numbers(frame, "propensity", name, whole=False)
    _check(log, name)
    attempts = log["kind"] == "attempt"
    log.loc[attempts & (log["source"] == ""), "source"] = "stripe"
    order = ["at", "invoice_id", "kind", "payment_method_id"]
    return log.sort_values(order, kind="stable").reset_index(drop=True), aside


def events_of(checked: pd.DataFrame) -> pd.DataFrame:
    """A checked log with each event once, the later row where two tell of one.

    An invoice has one end, the latest that is known.
    """
    same = ["kind", "invoice_id", "at", "payment_method_id", "outcome", "decline_code"]
    once = checked.drop_duplicates(same, keep="last")
    earlier_end = once["kind"].eq("closed") & once.duplicated(
        ["kind", "account", "invoice_id"], keep="last"
    )
    return once[~earlier_end].reset_index(drop=True)


def refuse_card_numbers(frame: pd.DataFrame, *, name: str) -> None:
    """Raise `InvalidInput` where any column of a table holds what may be a card number."""
    for column in frame.columns:
        values = frame[column]
        if not (values.dtype == object or pd.api.types.is_string_dtype(values.dtype)):
            if not pd.api.types.is_integer_dtype(values.dtype):
                continue
            values = values[values.abs() >= 10**12]
        for line, value in _suspects(values):
            if any(_passes_luhn(m.group()) for m in _DIGITS.finditer(value)):
                raise InvalidInput(
                    f"{name}: line {line}, column {column}: this looks like a card number; "
                    "the file is refused whole: take card numbers out of it"
                )


def _suspects(values: "pd.Series[Any]") -> list[tuple[int, str]]:
    texts = values.astype(str)
    likely = texts.str.contains(r"\d[ -]?\d(?:[ -]?\d){11,}", regex=True, na=False).to_numpy()
    found = texts.to_numpy()
    return [
        (int(i) + 2, str(found[i]))
        for i in np.flatnonzero(likely)
        if not _STRIPE_ID.match(str(found[i]))
    ]


def _passes_luhn(text: str) -> bool:
    digits = [int(c) for c in text if c.isdigit()]
    doubled = (d * 2 - 9 if d > 4 else d * 2 for d in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _texts(frame: pd.DataFrame, column: str) -> "pd.Series[Any]":
    if column not in frame.columns:
        return pd.Series([""] * len(frame), dtype=object)
    values = frame[column].astype(object)
    texts: pd.Series[Any] = values.where(values.notna(), "").astype(str).str.strip()
    return texts.reset_index(drop=True)


def _times(frame: pd.DataFrame, column: str, name: str) -> "pd.Series[Any]":
    if column not in frame.columns:
        return pd.Series(pd.NaT, index=range(len(frame)), dtype="datetime64[us, UTC]")
    given = frame[column].reset_index(drop=True)
    blank = given.isna() | (given.astype(str).str.strip() == "")
    if pd.api.types.is_datetime64_any_dtype(given.dtype):
        parsed = given.dt.tz_localize("UTC") if given.dt.tz is None else given.dt.tz_convert("UTC")
    else:
        parsed = pd.to_datetime(given.where(~blank), utc=True, errors="coerce", format="ISO8601")
    _first_bad(name, column, parsed.isna() & ~blank, given, "an RFC 3339 time in UTC")
    times: pd.Series[Any] = parsed.astype("datetime64[us, UTC]")
    return times


def _numbers(frame: pd.DataFrame, column: str, name: str, *, whole: bool) -> "pd.Series[Any]":
    if column not in frame.columns:
        return pd.Series(np.nan, index=range(len(frame)))
    given = frame[column].reset_index(drop=True)
    blank = given.isna() | (given.astype(str).str.strip() == "")
    parsed = pd.to_numeric(given.where(~blank), errors="coerce").astype("float64")
    bad = parsed.isna() & ~blank
    if whole:
        # beyond 2^53 a float is not the number that was written
        bad |= parsed.notna() & ((parsed % 1 != 0) | (parsed < 0) | (parsed > 2**53))
        texts = given.dtype == object or pd.api.types.is_string_dtype(given.dtype)
        if texts and not _is_dump_of_floats(given[~blank]):
            bad |= ~blank & ~given.map(_is_whole)
        _first_bad(name, column, bad, given, "a whole number of minor units, 0 or more")
    else:
        bad |= parsed.notna() & ((parsed <= 0) | ~np.isfinite(parsed))
        _first_bad(name, column, bad, given, "a number above 0")
    return parsed


def _is_dump_of_floats(texts: "pd.Series[Any]") -> bool:
    """Whether all have one zero behind a point, as pandas writes whole numbers in a gappy column.

    Whoever writes major units has cents somewhere, or two zeros.
    """
    return bool(texts.astype(str).str.fullmatch(r"[0-9]+\.0").all())


def _is_whole(value: Any) -> bool:
    """Whether it was written as a whole number: 29.00 is twenty-nine of something, not minor units.

    A float is what pandas makes of whole numbers with gaps between them, and may pass.
    """
    if isinstance(value, str):
        return value.strip().isascii() and value.strip().isdigit()
    if isinstance(value, Decimal):
        exponent = value.as_tuple().exponent
        return isinstance(exponent, int) and exponent >= 0
    return True


def _check(log: pd.DataFrame, name: str) -> None:
    for column in ("invoice_id", "customer_id"):
        _first_bad(name, column, log[column] == "", log[column], "an id")
    _first_bad(name, "at", log["at"].isna(), log["at"], "an RFC 3339 time in UTC")
    for column, allowed in _ONE_OF.items():
        empty_is_fine = column != "kind"
        bad = ~log[column].isin(allowed) & ~((log[column] == "") & empty_is_fine)
        _first_bad(name, column, bad, log[column], f"one of {', '.join(allowed)}")
    for kind, columns in _NEEDED_BY.items():
        for column in columns:
            blank = log[column].isna() if column == "amount" else log[column] == ""
            bad = (log["kind"] == kind) & blank
            _first_bad(name, column, bad, log[column], f"a value: {kind} rows need one")
    exp = log["card_exp"]
    bad = (exp != "") & ~exp.str.fullmatch(r"\d{4}-(0[1-9]|1[0-2])")
    _first_bad(name, "card_exp", bad, exp, "YYYY-MM")


def _first_bad(
    name: str, column: str, bad: "pd.Series[Any]", given: "pd.Series[Any]", expected: str
) -> None:
    if not bad.any():
        return
    row = int(np.flatnonzero(bad.to_numpy())[0])
    found = str(given.iloc[row])[:60]
    raise InvalidInput(f"{name}: line {row + 2}, {column}: expected {expected}, found {found!r}")


def write(log: pd.DataFrame, path: Path) -> None:
    """Write a log as the format that the file's name asks for."""
    if path.suffix.lower() in (".parquet", ".pq"):
        log.to_parquet(path, index=False)
        return
    text = log.copy()
    for column in ("at", "customer_since"):
        stamps = pd.to_datetime(text[column], utc=True)
        text[column] = stamps.dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ").where(stamps.notna(), "")
    text["amount"] = text["amount"].astype("Int64")
    for column in text.columns:
        if text[column].dtype == object or pd.api.types.is_string_dtype(text[column].dtype):
            text[column] = text[column].map(_harmless, na_action="ignore")
    text.to_csv(path, index=False)


def columns_of(log: pd.DataFrame, names: Sequence[str]) -> dict[str, list[Any]]:
    """Columns as plain lists, which Python walks ten times faster than a frame."""
    return {name: log[name].tolist() for name in names}
