"""`retry-engine`: commands parse, call one thing, and print. A user never sees a traceback."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

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

app = typer.Typer(
    name="retry-engine",
    help="Recovers failed subscription payments on Stripe Billing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
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
        return _complain(error)
    return code if isinstance(code, int) else 0


def _complain(error: Exception) -> int:
    """One line on stderr; the exit code says whose fault it is."""
    if isinstance(error, TyperException):  # bad usage, which typer explains itself
        show: Callable[[], None] | None = getattr(error, "show", None)
        show() if show else sys.stderr.write(f"retry-engine: {error}\n")
        return 2
    if not isinstance(error, RetryEngineError):
        if os.environ.get("RETRY_ENGINE_DEBUG"):
            raise error
        error = RetryEngineError(f"{type(error).__name__}: {error}")
    from retry_engine.telemetry import clean_text

    detail = getattr(error, "detail", "")
    text = " ".join(clean_text(f"{error}: {detail}" if detail else str(error)).split())
    sys.stderr.write(f"retry-engine: {text}\n")
    return 2 if isinstance(error, (SettingsError, BadRequest)) else 1
