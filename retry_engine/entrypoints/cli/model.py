"""`model`: train, judge, promote."""

from typing import Annotated, Any

import typer

from retry_engine.domain.errors import Refused
from retry_engine.entrypoints.cli.options import Json, Plot, Version, since_of
from retry_engine.entrypoints.cli.output import say, show
from retry_engine.entrypoints.cli.session import open_engine

group = typer.Typer(no_args_is_help=True, help="The success model: train, judge, promote.")


@group.command("train")
def train_model(
    seed: Annotated[int, typer.Option(help="The same log and seed give the same model.")] = 0,
    promote: Annotated[bool, typer.Option(help="Let it decide at once.")] = False,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Fit a model on the attempt log, store it, and show its card."""
    with open_engine() as engine:
        card = engine.learning.train(seed=seed, promote=promote, on_progress=say)
        if plot is not None:
            engine.learning.write_plot(card["version"], plot)
    show(card, as_json, lambda c: _rendering().show_card(c))
    if card.get("not_promoted"):
        raise Refused(card["not_promoted"])


@group.command("list")
def list_models(as_json: Json = False) -> None:
    """Stored models, newest first."""
    with open_engine() as engine:
        found = engine.learning.list_models()
    show(found, as_json, lambda rows: _rendering().show_models(rows))


@group.command("show")
def show_model(version: Version = None, plot: Plot = None, as_json: Json = False) -> None:
    """A model's card; without a version the active one's."""
    with open_engine() as engine:
        card = engine.learning.show(version)
        if plot is not None:
            engine.learning.write_plot(version, plot)
    show(card, as_json, lambda c: _rendering().show_card(c))


@group.command("promote")
def promote_model(
    version: Annotated[str, typer.Argument(metavar="V")], as_json: Json = False
) -> None:
    """Let a stored model decide; workers take it up within seconds."""
    with open_engine() as engine:
        found = engine.learning.promote(version)
    show(found, as_json, lambda f: print(f"{f['active']} decides from now on."))


@group.command("rollback")
def rollback_model(as_json: Json = False) -> None:
    """Back to the model that decided before, or to the documented prior."""
    with open_engine() as engine:
        found = engine.learning.rollback()
    show(found, as_json, lambda f: print(f"{f['active'] or 'the prior'} decides from now on."))


@group.command("evaluate")
def evaluate_model(version: Version = None, as_json: Json = False) -> None:
    """Judge a stored model on the cases that came after its training."""
    with open_engine() as engine:
        found = engine.learning.evaluate(version, on_progress=say)
    show(found, as_json, lambda c: _rendering().show_card(c))


@group.command("drift")
def show_drift(
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Else the log's last 30 days.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the last days with what the active model was trained on."""
    begin = since_of(since) if since is not None else None
    with open_engine() as engine:
        found = engine.learning.drift(since=begin)
    show(found, as_json, lambda f: _rendering().show_drift(f))


def _rendering() -> Any:
    from retry_engine.entrypoints.rendering import models

    return models
