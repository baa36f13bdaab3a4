"""`events`: what could not be handled, and what the host application did not take."""

from typing import Annotated, Any

import typer

from retry_engine.entrypoints.cli.options import Json
from retry_engine.entrypoints.cli.output import show
from retry_engine.entrypoints.cli.session import open_engine

group = typer.Typer(
    no_args_is_help=True, help="Events that could not be handled, or not delivered."
)


@group.command("dead")
def dead_events(as_json: Json = False) -> None:
    """Events that were given up, with their errors."""
    with open_engine() as engine:
        found = engine.operations.dead_letters()
    show(found, as_json, lambda rows: _rendering().show_dead(rows))


@group.command("replay")
def replay(event_id: Annotated[str, typer.Argument(metavar="EVENT")]) -> None:
    """Handle a dead event anew; one to the host application (revt_…) is told again."""
    with open_engine() as engine:
        engine.operations.replay_event(event_id)
    print(f"{event_id} will be {'told again' if event_id.startswith('revt_') else 'handled anew'}.")


def _rendering() -> Any:
    from retry_engine.entrypoints.rendering import operations

    return operations
