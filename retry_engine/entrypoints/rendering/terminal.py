"""The terminal itself, and what looks the same everywhere."""

from datetime import datetime
from typing import Any

from rich.console import Console
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
