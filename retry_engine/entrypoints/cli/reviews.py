"""`reviews`: what waits for a person."""

from typing import Annotated, Any

import typer

from retry_engine.entrypoints.cli.options import By, Json, Reason, who
from retry_engine.entrypoints.cli.output import show
from retry_engine.entrypoints.cli.session import open_engine

group = typer.Typer(no_args_is_help=True, help="What waits for a person.")


@group.command("list")
def list_reviews(
    state: Annotated[str, typer.Option(help="open, approved, rejected, withdrawn.")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    as_json: Json = False,
) -> None:
    """What waits for a person, the longest waiting first."""
    with open_engine() as engine:
        found = engine.operations.list_reviews(state=state, limit=limit)
    show(found, as_json, lambda page: _rendering().show_reviews(page))


@group.command("approve")
def approve(
    review: Annotated[str, typer.Argument(metavar="ID")],
    reason: Reason,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Carry out what is proposed."""
    _decide(review, "approve", reason, by, as_json)


@group.command("reject")
def reject(
    review: Annotated[str, typer.Argument(metavar="ID")],
    reason: Reason,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Drop what is proposed; the case is paused until a person resumes it."""
    _decide(review, "reject", reason, by, as_json)


def _decide(review: str, verdict: str, reason: str, by: str | None, as_json: bool) -> None:
    with open_engine() as engine:
        found = engine.operations.decide_review(review, verdict=verdict, reason=reason, by=who(by))
    show(found, as_json, lambda one: print(f"Review {one['id']} is {one['state']}."))


def _rendering() -> Any:
    from retry_engine.entrypoints.rendering import operations

    return operations
