"""The attempt log, in and out."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from retry_engine.entrypoints.rendering.terminal import Document

if TYPE_CHECKING:
    from retry_engine.learning.backfill import Progress


def show_imported(found: Document) -> None:
    """What came out of importing files."""
    for file in found["files"]:
        known = file["rows"] - file["new"]
        print(f"{file['file']}: {file['rows']} rows, {file['new']} new, {known} known already")


@contextmanager
def backfill_progress() -> Iterator[Callable[["Progress"], None]]:
    """How far a backfill is, on stderr: a bar in a terminal, else a line each hundredth."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _plain_lines()
        return
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
    with Bar(*columns, TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda progress: bar.update(
            task, completed=progress.share, description=_backfill_line(progress)
        )


def _plain_lines() -> Callable[["Progress"], None]:
    told = -1

    def say(progress: "Progress") -> None:
        nonlocal told
        hundredth = int(progress.share * 100)
        if hundredth != told:
            told = hundredth
            print(f"{hundredth:3}% {_backfill_line(progress)}", file=sys.stderr, flush=True)

    return say


def _backfill_line(progress: "Progress") -> str:
    reached = f"back to {progress.reached:%Y-%m-%d}" if progress.reached else "beginning"
    return (
        f"{reached}: {progress.charges} charges read, {progress.invoices} failed invoices, "
        f"{progress.new} new rows"
    )


def show_backfill(found: Document) -> None:
    """What came out of a backfill."""
    print(
        f"{found['charges']} charges read since {found['since'][:10]}, {found['invoices']} failed "
        f"invoices: {found['new']} new rows, {found['changed']} read anew"
    )
