"""`report`: the same sections for a terminal, a spreadsheet and a browser."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rich.table import Table
from rich.text import Text

from retry_engine.app.report import page
from retry_engine.domain.money import in_major_units, plain
from retry_engine.entrypoints.rendering.terminal import Document, console_of_stdout, when

# What a spreadsheet would take for a formula, and what hides one.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
_BY = {
    "decline_code": "By the first decline",
    "method": "By method",
    "attempt": "By attempt",
    "country": "By country",
}


@dataclass(frozen=True, slots=True)
class Amount:
    """Money, drawn as people read it or as a spreadsheet counts it."""

    minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Share:
    """A share, or none where nothing was counted."""

    value: float | None


@dataclass(frozen=True, slots=True)
class Points:
    """A difference of shares."""

    value: float


Cell = str | int | bool | Amount | Share | Points | None


@dataclass(frozen=True, slots=True)
class Section:
    """A table with what its shares are of."""

    title: str
    note: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def sections(report: Document) -> list[Section]:
    """The report's tables, the rate before the money."""
    of = report["denominators"]
    return [
        Section("Recovered", of["rate"], _COUNTED, [_counted("", report)]),
        *_lift(report["lift"], of["lift"]),
        Section("Money", of["money"], _MONEY, [*_money(report), *_total(report["total"])]),
        *(
            Section(title, of[f"by.{name}"], _SPLIT, [_split(row) for row in report["by"][name]])
            for name, title in _BY.items()
        ),
        Section("Recovered through", of["recovered_through"], *_through(report)),
        Section("By month of the failure", of["cohorts"], *_cohorts(report)),
        *_apart(report),
    ]


_COUNTED = ("", "rate", "recovered", "lost", "open", "failed")
_SPLIT = ("", "rate", "recovered", "failed")
_MONEY = ("currency", "share", "recovered", "failed", "cost", "discounts")
# What brought the money, in words.
_THROUGH = {
    "engine": "the engine's charges",
    "link": "customers who came by the engine's link",
    "customer": "customers on their own",
    "stripe": "Stripe's charges",
    "manual": "charges by hand",
    "elsewhere": "no charge: paid otherwise",
}


def _counted(name: str, figures: Document) -> list[Cell]:
    counts = figures["cases"]
    numbers = [counts[n] for n in ("recovered", "lost", "open", "failed")]
    return [name or "cases", Share(figures["rate"]), *numbers]


def _money(figures: Document) -> list[list[Cell]]:
    return [_amounts(currency, currency, sums) for currency, sums in figures["money"].items()]


def _amounts(name: str, currency: str, sums: Document) -> list[Cell]:
    share = sums["recovered"] / sums["failed"] if sums["failed"] else None
    names = ("recovered", "failed", "cost", "discounts")
    return [name.upper(), Share(share), *(Amount(sums[n], currency) for n in names)]


def _total(total: Document | None) -> list[list[Cell]]:
    if total is None:
        return []
    if total["without_rate"]:
        missing = ", ".join(c.upper() for c in total["without_rate"])
        return [[f"no total: no rate for {missing}", None, None, None, None, None]]
    return [_amounts("all", total["currency"], total)]


_VERDICTS = {
    "higher": "more are recovered than in the holdout",
    "lower": "fewer are recovered than in the holdout",
    "cannot_tell": "cannot be told yet",
    "unhealthy": "not to be believed: the arms are not as large as they were drawn",
}


def _lift(lift: Document | None, note: str) -> Iterable[Section]:
    if lift is None:
        return
    customers, recovered = lift["customers"], lift["recovered"]
    rows: list[list[Cell]] = [
        [
            name,
            Share(recovered[arm] / customers[arm] if customers[arm] else None),
            recovered[arm],
            customers[arm],
        ]
        for arm, name in (("treated", "with the engine"), ("holdout", "holdout"))
    ]
    yield Section("Against the holdout", note, ("", "rate", "recovered", "customers"), rows)
    low, high = lift["interval"]
    told: list[list[Cell]] = [
        ["verdict", _VERDICTS[lift["verdict"]]],
        ["difference at least (95 %, at every look)", Points(low)],
        ["and at most", Points(high)],
        ["further cases that must mature before a verdict", lift["more_cases_needed"]],
        ["customers whose 30 days have not passed", lift["maturing"]],
        ["chance of arms so uneven, rightly drawn", Share(lift["sample_ratio_p"])],
    ]
    yield Section("What can be told", "", ("", ""), told)


def _split(row: Document) -> list[Cell]:
    return [row["key"], Share(row["rate"]), row["recovered"], row["failed"]]


def _through(report: Document) -> tuple[Sequence[str], list[list[Cell]]]:
    rows: list[list[Cell]] = [
        [_THROUGH.get(row["key"], row["key"]), Share(row["share"]), row["recovered"]]
        for row in report["recovered_through"]
    ]
    return ("", "share", "recovered"), rows


def _cohorts(report: Document) -> tuple[Sequence[str], list[list[Cell]]]:
    rows: list[list[Cell]] = [
        [
            row["month"],
            row["recovered"],
            row["open"],
            row["failed"],
            "mature" if row["mature"] else "not yet: some have not had 30 days",
        ]
        for row in report["cohorts"]
    ]
    return ("month", "recovered", "open", "failed", "mature"), rows


def _apart(report: Document) -> Iterable[Section]:
    """What is not the engine's doing, where there is any."""
    words = {"shadow": "only watched (shadow)", "holdout": "left to Stripe (holdout)"}
    rows = [
        _counted(words[mode], figures)
        for mode, figures in report["apart"].items()
        if figures["cases"]["failed"]
    ]
    if rows:
        yield Section("Apart from that", report["denominators"]["rate"], _COUNTED, rows)


# -- drawn


def show_report(report: Document) -> None:
    """The report at a terminal."""
    console = console_of_stdout()
    console.print(Text(_heading(report), style="bold"))
    for section in sections(report):
        if not section.rows:
            continue
        console.print()
        console.print(Text(section.title, style="bold"))
        if section.note:
            console.print(Text(section.note, style="bright_black"))
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
        table.show_header = any(section.headings)
        for number, heading in enumerate(section.headings):
            table.add_column(heading, justify="left" if number == 0 else "right")
        for row in section.rows:
            table.add_row(*(Text(_read(cell)) for cell in row))
        console.print(table)


def as_csv(report: Document) -> str:
    """One row for each figure; no cell is a formula to a spreadsheet, and no number is cut."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(("section", "of", "what", "value", "unit"))
    for section in sections(report):
        for row in section.rows:
            for heading, cell in zip(section.headings[1:], row[1:], strict=True):
                value, unit = _number(cell)
                first = _read(row[0])
                writer.writerow(_safe(c) for c in (section.title, first, heading, value, unit))
    return out.getvalue()


def as_html(report: Document) -> str:
    """A page that stands alone: no script, nothing loaded."""
    drawn = [
        {
            "title": section.title,
            "note": section.note,
            "headings": section.headings,
            "rows": [[_read(cell) for cell in row] for row in section.rows],
        }
        for section in sections(report)
        if section.rows
    ]
    return page(heading=_heading(report), sections=drawn)


def _heading(report: Document) -> str:
    since = f"from {when(report['since'])} " if report["since"] else ""
    account = f", account {report['account']}" if report["account"] else ""
    return f"Failed invoices opened {since}until {when(report['until'])} UTC{account}"


def _read(cell: Cell) -> str:
    """As people read it."""
    match cell:
        case None:
            return ""
        case Amount():
            return plain(cell.minor, cell.currency)
        case Share():
            return "–" if cell.value is None else f"{cell.value:.1%}"
        case Points():
            return f"{cell.value * 100:+.1f} points"
        case _:
            return str(cell)


def _number(cell: Cell) -> tuple[Any, str]:
    """A value that a spreadsheet can count with, and its unit."""
    match cell:
        case Amount():
            return in_major_units(cell.minor, cell.currency), cell.currency.upper()
        case Share() | Points():
            return cell.value, "share"
        case _:
            return cell, ""


def _safe(cell: Any) -> Any:
    """A text that a spreadsheet shows as it is."""
    if isinstance(cell, (int, float, Decimal)):
        return cell
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(_FORMULA) else text
