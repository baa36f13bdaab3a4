"""`retry-engine`: commands parse, call one thing, and print. A user never sees a traceback."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from retry_engine.domain.errors import BadRequest, RetryEngineError, SettingsError
from retry_engine.entrypoints.cli import (
    cases,
    engine,
    events,
    health,
    history,
    messages,
    model,
    processes,
    report,
    reviews,
)
from retry_engine.entrypoints.cli.output import print_json

app = typer.Typer(
    name="retry-engine",
    help="Recovers failed subscription payments on Stripe Billing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # 50 ms

        print(f"retry-engine {version('retry-engine')}")
        raise typer.Exit


@app.callback()
def _every_command(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Which one this is."),
    ] = False,
) -> None:
    pass


app.add_typer(processes.commands)
app.add_typer(health.commands)
app.add_typer(report.commands)
app.add_typer(cases.group, name="cases")
app.add_typer(reviews.group, name="reviews")
app.add_typer(engine.group, name="engine")
app.add_typer(events.group, name="events")
app.add_typer(history.group, name="history")
app.add_typer(model.group, name="model")
app.add_typer(messages.group, name="messages")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and leave with its exit code: 0 done, 1 failed or refused, 2 bad usage."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = app(args=arguments, standalone_mode=False)
        sys.stdout.flush()
    except typer.Exit as wanted:
        return wanted.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:  # noqa: BLE001  # the last net: one line, not a traceback
        return _complain(
            error, as_json="--json" in (sys.argv[1:] if arguments is None else arguments)
        )
    return code if isinstance(code, int) else 0


def _complain(error: Exception, *, as_json: bool) -> int:
    """One line on stderr; the exit code says whose fault it is.

    Where a document was asked for the reason is one on stdout as well.
    """
    if isinstance(error, TyperException):  # bad usage, which typer explains itself
        show: Callable[[], None] | None = getattr(error, "show", None)
        show() if show else sys.stderr.write(f"retry-engine: {error}\n")
        told = getattr(error, "format_message", lambda: str(error))()
        return _ended(2, "BadUsage", told, as_json=as_json)
    if not isinstance(error, RetryEngineError):
        if os.environ.get("RETRY_ENGINE_DEBUG"):
            raise error
        error = RetryEngineError(f"{type(error).__name__}: {error}")
    from retry_engine.telemetry import clean_text

    detail = getattr(error, "detail", "")
    text = " ".join(clean_text(f"{error}: {detail}" if detail else str(error)).split())
    sys.stderr.write(f"retry-engine: {text}\n")
    code = 2 if isinstance(error, (SettingsError, BadRequest)) else 1
    return _ended(code, type(error).__name__, text, as_json=as_json)


def _ended(code: int, kind: str, text: str, *, as_json: bool) -> int:
    if as_json:
        print_json({"error": {"kind": kind, "message": text, "exit_code": code}})
    return code
