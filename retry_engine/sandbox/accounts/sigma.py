"""Scheduled Sigma queries: nothing is queried here, their results are handed in."""

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj

STATUSES = ("completed", "failed", "timed_out", "canceled")


def run(account: Account, given: Obj) -> Obj:
    """A query has run; whoever listens is told."""
    status = str(given.get("status", "completed"))
    if status not in STATUSES:
        raise invalid(f"status is one of {', '.join(STATUSES)}", param="status")
    title, now = str(given.get("title", "Query")), account.real_now()
    made = objects.scheduled_query_run(
        id=account.new_id("scheduled_query_run"),
        created=now,
        title=title,
        status=status,
        file=_file(account, str(given.get("csv", "")), title) if status == "completed" else None,
        error=None if status == "completed" else str(given.get("error", "The query failed.")),
    )
    account.put("scheduled_query_run", made)
    account.emit("sigma.scheduled_query_run.created", made)
    return account.bare(made)


def _file(account: Account, contents: str, title: str) -> Obj:
    file_id = account.new_id("file")
    made = objects.file(
        id=file_id,
        created=account.real_now(),
        size=len(contents.encode()),
        url=f"https://files.stripe.com/v1/files/{file_id}/contents",
        title=title,
    )
    account.hidden[file_id] = {"contents": contents}
    return account.put("file", made)


def contents(account: Account, file_id: str) -> str:
    """What is in a file."""
    found: str = account.hidden[account.get("file", file_id)["id"]]["contents"]
    return found
