"""`history`: the attempt log, in and out."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from retry_engine.entrypoints.cli.options import Json, since_of
from retry_engine.entrypoints.cli.output import show
from retry_engine.entrypoints.cli.session import open_engine

group = typer.Typer(no_args_is_help=True, help="The attempt log: what the model learns from.")


@group.command("import")
def import_history(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="CSV or Parquet.")],
    as_json: Json = False,
) -> None:
    """Take in attempt logs; all of the files or, where one is bad, none."""
    with open_engine() as engine:
        found = engine.learning.import_files(files)
    for file in found["files"]:
        if file["columns_aside"]:
            names = ", ".join(file["columns_aside"])
            sys.stderr.write(f"{file['file']}: unknown columns put aside: {names}\n")
    show(found, as_json, lambda f: _rendering().show_imported(f))


@group.command("backfill")
def backfill_history(
    since: Annotated[str, typer.Option(help="A day (2026-01-31, UTC) or an RFC 3339 time.")],
    account: Annotated[str, typer.Option(help="A connected account (acct_…); else yours.")] = "",
    as_json: Json = False,
) -> None:
    """Read what failed in Stripe before the engine was there; run it again to carry on."""
    wanted = since_of(since)
    with open_engine(stripe=True) as engine, _rendering().backfill_progress() as on_progress:
        found = engine.backfill.run(wanted, account=account, on_progress=on_progress)
    show(found, as_json, lambda f: _rendering().show_backfill(f))


@group.command("export")
def export_history(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="To write: .csv or .parquet.")],
    as_json: Json = False,
) -> None:
    """Write the attempt log, imported rows and the engine's own."""
    with open_engine() as engine:
        found = engine.learning.export_file(file)
    show(found, as_json, lambda f: print(f"{f['rows']} rows in {f['file']}"))


def _rendering() -> Any:
    from retry_engine.entrypoints.rendering import history

    return history
