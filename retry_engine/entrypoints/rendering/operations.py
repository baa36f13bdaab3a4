"""What waits for people, and what they did."""

from collections.abc import Sequence

from rich.table import Table

from retry_engine.domain.money import plain
from retry_engine.entrypoints.rendering.terminal import (
    Document,
    console_of_stdout,
    print_whole,
    when,
)


def show_reviews(page: Document) -> None:
    """The review queue."""
    console = console_of_stdout()
    if not page["data"]:
        console.print("Nothing waits for a person.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("review", "case", "amount", "until", "why", "proposed"):
        table.add_column(heading)
    for review in page["data"]:
        proposal = review["proposal"] or {}
        at = f" {when(proposal['at'])}" if proposal.get("at") else ""
        table.add_row(
            review["id"],
            review["case"],
            plain(review["amount"], review["currency"]),
            when(review["deadline_at"]) + (" (overdue)" if review["overdue"] else ""),
            review["reason"],
            f"{proposal.get('action', '')}{at}",
        )
    print_whole(console, table, prose="why")


def show_engine_log(log: Document) -> None:
    """Who turned the switch, newest first."""
    print("paused: no money moves" if log["paused"] else "running")
    for act in log["data"]:
        print(f"{when(act['at'])}  {act['action']} by {act['by']}: {act['reason']}")


def show_dead(rows: Sequence[Document]) -> None:
    """Events that were given up."""
    console = console_of_stdout()
    if not rows:
        console.print("No dead events.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("event", "type", "since", "tries", "error"):
        table.add_column(heading)
    for row in rows:
        table.add_row(
            row["event_id"],
            row["type"],
            when(row["received_at"]),
            str(row["tries"]),
            row["last_error"] or "",
        )
    print_whole(console, table, prose="error")
