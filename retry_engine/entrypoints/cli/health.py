"""Is all well, and how much is there to do."""

from typing import Any

import typer

from retry_engine.entrypoints.cli.options import Json
from retry_engine.entrypoints.cli.output import print_json, show
from retry_engine.entrypoints.cli.session import open_engine

commands = typer.Typer()


@commands.command()
def doctor(as_json: Json = False) -> None:
    """Is everything in its place? One row each, with the mend."""
    with open_engine() as engine:
        checks = engine.doctor.examine()
    if as_json:
        print_json(
            [
                {"name": c.name, "status": c.status, "detail": c.detail, "mend": c.mend}
                for c in checks
            ]
        )
    else:
        _rendering().show_checks(checks)
    raise typer.Exit(1 if any(c.status == "fail" for c in checks) else 0)


@commands.command()
def status(as_json: Json = False) -> None:
    """How much work there is, by each case's own clock."""
    with open_engine() as engine:
        show(engine.health.status(), as_json, lambda found: _rendering().show_status(found))


def _rendering() -> Any:
    from retry_engine.entrypoints.rendering import health

    return health
