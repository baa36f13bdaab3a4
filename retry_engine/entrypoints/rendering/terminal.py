"""The terminal itself, and what looks the same everywhere."""

from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Document = dict[str, Any]


_STATE_STYLE = {
    "open": "cyan",
    "processing": "blue",
    "needs_customer": "yellow",
    "in_review": "magenta",
    "paused": "bright_black",
    "closed": "green",
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
    "watch": "yellow",
    "retrain": "bold red",
}


def when(at: str) -> str:
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M}"


def styled(text: str, state: str | None = None) -> Text:
    return Text(text, style=_STATE_STYLE.get(state or text, ""))


def console_of_stdout() -> Console:
    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = 200
    return console


_NARROWEST_PROSE = 24


def print_whole(console: Console, table: Table, *, prose: str = "") -> None:
    """People copy ids: in a narrow terminal nothing is cut, and only the column `prose` is folded.

    What has no room then goes on in the terminal's next line.
    """
    for column in table.columns:
        if column.header == prose:
            column.overflow, column.min_width = "fold", _NARROWEST_PROSE
        else:
            column.no_wrap = True
            column.min_width = max(len(str(cell)) for cell in (column.header, *column.cells))
    needed = sum((column.min_width or 0) + 2 for column in table.columns)
    console.width = max(console.width, needed)
    console.print(table)
