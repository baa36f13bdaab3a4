"""`engine`: the stop for everything."""

from typing import Annotated, Any

import typer

from retry_engine.entrypoints.cli.options import By, Json, Reason, who
from retry_engine.entrypoints.cli.output import show, tell_wait
from retry_engine.entrypoints.cli.session import open_engine

group = typer.Typer(no_args_is_help=True, help="The stop for everything.")


@group.command("pause")
def pause_engine(reason: Reason, by: By = None, as_json: Json = False) -> None:
    """No money moves until it is resumed; returns when no charge is under way."""
    _switch("pause", reason, by, as_json)


@group.command("resume")
def resume_engine(reason: Reason, by: By = None, as_json: Json = False) -> None:
    """Go on."""
    _switch("resume", reason, by, as_json)


@group.command("log")
def engine_log(
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where an earlier page ended.")] = None,
    as_json: Json = False,
) -> None:
    """Who paused and resumed the engine, newest first, and why."""
    with open_engine() as engine:
        found = engine.operations.engine_log(limit=limit, cursor=cursor)
    show(found, as_json, lambda log: _rendering().show_engine_log(log))


def _switch(action: str, reason: str, by: str | None, as_json: bool) -> None:
    with open_engine() as engine:
        found = engine.operations.set_engine(
            action=action, reason=reason, by=who(by), progress=tell_wait
        )
    word = "paused: no money moves" if found["paused"] else "running"
    show(found, as_json, lambda _: print(f"The engine is {word}."))


def _rendering() -> Any:
    from retry_engine.entrypoints.rendering import operations

    return operations
