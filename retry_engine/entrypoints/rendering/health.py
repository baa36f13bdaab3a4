"""`doctor` and `status`."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from retry_engine.app.checks import Check
from retry_engine.entrypoints.rendering.terminal import Document, console_of_stdout, styled


def show_checks(checks: Sequence[Check]) -> None:
    """The doctor's rows."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in checks:
        detail = Text(check.detail)
        if check.mend and check.status != "ok":
            detail.append(f"\n→ {check.mend}", style="italic")
        table.add_row(styled(check.status), Text(check.name, style="bold"), detail)
    console_of_stdout().print(table)


def show_status(status: Document) -> None:
    """Status as a short table."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in status.items():
        shown = str(value)
        style = "bold red" if name == "paused" and value else ""
        table.add_row(Text(name.replace("_", " ")), Text(shown, style=style))
    console_of_stdout().print(table)
