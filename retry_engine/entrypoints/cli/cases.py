"""`cases`: look at them, override them."""

import sys
from datetime import datetime
from typing import Annotated, Any

import typer

from retry_engine.entrypoints.cli.options import By, Case, Json, Reason, time_of, who
from retry_engine.entrypoints.cli.output import show, tell_wait
from retry_engine.entrypoints.cli.session import open_engine

group = typer.Typer(no_args_is_help=True, help="Recovery cases: look at them, override them.")


@group.command("list")
def list_cases(
    state: Annotated[str | None, typer.Option(help="Only cases in this state.")] = None,
    customer: Annotated[str | None, typer.Option(help="Only this customer's (cus_…).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before.")] = None,
    as_json: Json = False,
) -> None:
    """Cases, newest first."""
    with open_engine() as engine:
        found = engine.operations.list_cases(
            state=state, customer=customer, limit=limit, cursor=cursor
        )
    show(found, as_json, lambda page: _rendering().show_cases(page))


@group.command("show")
def show_case(case: Case, as_json: Json = False) -> None:
    """One case: its life as a timeline."""
    with open_engine() as engine:
        found = engine.operations.show_case(case)
    show(found, as_json, lambda whole: _rendering().show_case(whole))


@group.command("explain")
def explain_case(
    case: Case,
    at: Annotated[str | None, typer.Option(help="Why not then? (RFC 3339)")] = None,
    method: Annotated[str | None, typer.Option(help="Why not on that? (pm_…)")] = None,
    as_json: Json = False,
) -> None:
    """Why the engine decided what it did, with the chances drawn over the days.

    With --at or --method also why not then, or on that: by which rule, until when, and how much
    more or less likely it is to succeed.
    """
    wanted = time_of(at) if at is not None else None
    with open_engine() as engine:
        found = engine.operations.explain_case(case, at=wanted, payment_method=method)
    show(found, as_json, lambda why: _rendering().show_explanation(why))


@group.command("retry")
def retry_case(
    case: Case,
    reason: Reason,
    at: Annotated[str | None, typer.Option(help="When (RFC 3339); else now.")] = None,
    method: Annotated[str | None, typer.Option(help="On what (pm_…); else as planned.")] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Charge at a time of your choice, inside the networks' rules."""
    wanted = time_of(at) if at is not None else None
    _override(case, "retry", reason, by, as_json, at=wanted, payment_method=method)


def _add_override(name: str, says: str) -> None:
    def command(case: Case, reason: Reason, by: By = None, as_json: Json = False) -> None:
        _override(case, name, reason, by, as_json)

    command.__doc__ = says
    group.command(name.replace("_", "-"))(command)


for _name, _says in (
    ("pause", "Nothing is charged until it is resumed."),
    ("resume", "Go on with a paused case."),
    ("stop", "Close the case; nobody charges the invoice any more, nor does Stripe."),
    ("release", "Close the case; Stripe's own retries are given back where the rules allow it."),
    ("hold", "Put the case into the review queue."),
    ("note", "Write something into the case's history."),
    ("migrate_policy", "Continue the case on today's policy."),
):
    _add_override(_name, _says)


def _override(
    case: str,
    action: str,
    reason: str,
    by: str | None,
    as_json: bool,
    *,
    at: datetime | None = None,
    payment_method: str | None = None,
) -> None:
    with open_engine() as engine:
        found = engine.operations.override(
            case,
            action=action,
            reason=reason,
            by=who(by),
            at=at,
            payment_method=payment_method,
            progress=tell_wait,
        )
    for warning in found["warnings"]:
        print(f"Warning: {warning}", file=sys.stderr)
    show(found, as_json, lambda whole: _rendering().show_after_override(action, whole))


def _rendering() -> Any:
    from retry_engine.entrypoints.rendering import cases

    return cases
