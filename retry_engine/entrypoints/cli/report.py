"""`report`: what was recovered of what failed."""

import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from retry_engine.entrypoints.cli.options import Json, since_of
from retry_engine.entrypoints.cli.output import print_json
from retry_engine.entrypoints.cli.session import open_engine

commands = typer.Typer()


class Format(StrEnum):
    """How the report is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    HTML = "html"


@commands.command()
def report(
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Opened from then on; else all there is.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Opened before then; else until now.")
    ] = None,
    account: Annotated[
        str | None, typer.Option(help="A connected account (acct_…); else all together.")
    ] = None,
    as_format: Annotated[
        Format, typer.Option("--format", help="Of what is written to stdout.")
    ] = Format.TABLE,
    as_json: Json = False,
) -> None:
    """What was recovered, of what, and whether it can be told that the engine did it.

    For example: retry-engine report --since 2026-01-01 --format html > report.html
    """
    begin = since_of(since) if since is not None else None
    end = since_of(until, option="--until") if until is not None else None
    with open_engine() as engine:
        found = engine.reports.report(since=begin, until=end, account=account)
    wanted = Format.JSON if as_json else as_format
    draws: dict[Format, Callable[[], object]] = {
        Format.TABLE: lambda: _rendering().show_report(found),
        Format.JSON: lambda: print_json(found),
        Format.CSV: lambda: sys.stdout.write(_rendering().as_csv(found)),
        Format.HTML: lambda: sys.stdout.write(_rendering().as_html(found)),
    }
    draws[wanted]()


def _rendering() -> Any:
    from retry_engine.entrypoints.rendering import report

    return report
