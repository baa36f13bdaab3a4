"""Lists: filtered, newest first, a page at a time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.api.route import PAGE, Call, Operation
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj, listing


def within(seconds: int, bounds: Mapping[str, int]) -> bool:
    """Whether a time lies in a `created[gte]=…` range."""
    checks = {
        "gt": lambda edge: seconds > edge,
        "gte": lambda edge: seconds >= edge,
        "lt": lambda edge: seconds < edge,
        "lte": lambda edge: seconds <= edge,
    }
    return all(checks[bound](edge) for bound, edge in bounds.items())


def page(rows: Sequence[Obj], params: Obj, url: str) -> Obj:
    """One page of a list that is newest first."""
    limit = params.get("limit")
    limit = 10 if limit is None else limit
    if not 1 <= limit <= 100:
        raise invalid(
            f"This value must be between 1 and 100, not {limit}.",
            code="parameter_invalid_integer",
            param="limit",
        )
    if "ending_before" in params:
        before = rows[: _place_of(rows, params["ending_before"], "ending_before")]
        return listing(before[-limit:], url, has_more=len(before) > limit)
    start = 0
    if "starting_after" in params:
        start = _place_of(rows, params["starting_after"], "starting_after") + 1
    return listing(rows[start : start + limit], url, has_more=len(rows) > start + limit)


def _place_of(rows: Sequence[Obj], wanted: str, param: str) -> int:
    for index, row in enumerate(rows):
        if row["id"] == wanted:
            return index
    raise invalid(f"No such object: '{wanted}'", code="resource_missing", param=param)


def list_of(table: str, **special: Callable[[Account, Obj, Any], bool]) -> Operation:
    """The operation that lists a table, newest first, filtered by each given parameter."""

    def run(call: Call) -> Obj:
        filters = {k: v for k, v in call.params.items() if k not in PAGE and k != "expand"}
        rows = _candidates(call.account, table, filters)
        kept = [
            row
            for row in rows
            if all(
                _fits(call.account, row, name, value, special) for name, value in filters.items()
            )
        ]
        return page(kept, call.params, call.path)

    return run


def _candidates(account: Account, table: str, filters: Obj) -> list[Obj]:
    """All rows that can match; far fewer where a filter names their owner."""
    for name in ("invoice", "payment_intent", "customer"):
        if isinstance(filters.get(name), str):
            return account.newest_first(table, filters[name])
    return account.newest_first(table)


def _fits(
    account: Account, row: Obj, name: str, value: Any,
    special: Mapping[str, Callable[[Account, Obj, Any], bool]],
) -> bool:  # fmt: skip
    if name in special:
        return special[name](account, row, value)
    if name == "created":
        return within(row["created"], value)
    return bool(row.get(name) == value)
