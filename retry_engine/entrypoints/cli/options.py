"""Options and arguments that several commands take, and what their texts mean."""

import getpass
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from retry_engine.domain import times
from retry_engine.domain.errors import BadRequest, SettingsError

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Case = Annotated[str, typer.Argument(metavar="CASE", help="A case's id or its invoice's (in_…).")]
Reason = Annotated[str, typer.Option(help="Why; kept with what was done.")]
By = Annotated[str | None, typer.Option(help="Who; else the user of this machine.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Account = Annotated[str, typer.Option(help="A connected account (acct_…); else yours.")]
Version = Annotated[str | None, typer.Argument(metavar="[V]", help="Else the active one.")]
Plot = Annotated[
    Path | None, typer.Option(metavar="FILE.png", help="Write the calibration plot there.")
]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port; else PORT, else 8000.")]

_DEFAULT_PORT = 8000


def who(by: str | None) -> str:
    """Who is at the terminal, where they do not say."""
    try:
        return by or getpass.getuser()
    except (OSError, KeyError):
        return "cli"


def time_of(text: str) -> datetime:
    """What `--at` says."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise BadRequest(
            f"--at is {text!r}; expected RFC 3339 with a zone, such as 2026-03-01T09:00:00Z"
        )
    return at


def since_of(text: str, *, option: str = "--since") -> datetime:
    """What `--since` says: a time, or the beginning of a day in UTC."""
    return times.moment(text, of=option)


def port_of(given: int | None) -> int:
    """The port to listen on: as given, else PORT, else the default."""
    if given is not None:
        return given
    text = os.environ.get("PORT", str(_DEFAULT_PORT))
    if not text.isdigit() or int(text) > 65535:
        raise SettingsError(f"PORT is {text!r}; expected 0 to 65535")
    return int(text)


def host_of(given: str | None) -> str:
    """The address to listen on: as given, else everywhere on a platform, else here only."""
    # platforms that set PORT reach the process from outside
    return given or ("0.0.0.0" if "PORT" in os.environ else "127.0.0.1")  # noqa: S104
