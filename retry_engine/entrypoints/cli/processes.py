"""The processes of an engine, alone or together; the demo and the sandbox."""

from typing import Annotated

import typer

from retry_engine.entrypoints.cli.options import Host, Json, Port, host_of, port_of
from retry_engine.entrypoints.cli.session import (
    bring_to_schema,
    command_of,
    open_engine,
    read_settings,
    with_servers,
)
from retry_engine.entrypoints.listening import must_be_free

commands = typer.Typer()


@commands.command()
def demo(
    invoices: Annotated[int, typer.Option(min=1, max=5000, help="Failed renewals.")] = 200,
    days: Annotated[int, typer.Option(min=1, max=90, help="Days to play.")] = 30,
    seed: Annotated[int, typer.Option(help="Which population.")] = 1,
    messages: Annotated[
        bool, typer.Option("--messages", help="Write to the customers too; they read their mail.")
    ] = False,
    offers: Annotated[
        bool, typer.Option("--offers", help="Offer discounts in messages too, where they pay.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Play the main job in minutes: the real engine beside a sandbox Stripe."""
    from retry_engine.entrypoints import demo as play

    raise typer.Exit(
        play.run(
            invoices=invoices,
            days=days,
            seed=seed,
            messages=messages or offers,
            offers=offers,
            as_json=as_json,
        )
    )


@commands.command()
def up(host: Host = None, port: Port = None) -> None:
    """Web, worker and beat under one roof, against the Stripe of the settings."""
    from retry_engine import telemetry
    from retry_engine.entrypoints.supervisor import Child, Supervisor

    with with_servers(read_settings(webhooks=True)) as (settings, environment):
        telemetry.configure("up", log_format=settings.log_format)
        bring_to_schema(settings)
        must_be_free(host_of(host), port_of(port))
        address = ["--host", host_of(host), "--port", str(port_of(port))]
        children = [
            Child(name=name, argv=command_of(name, *arguments), env=environment)
            for name, arguments in (("web", address), ("worker", []), ("beat", []))
        ]
        raise typer.Exit(Supervisor(children).run())


@commands.command()
def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 12111,
    seed: Annotated[int, typer.Option(help="Of everything random in it.")] = 1,
    webhook_url: Annotated[str | None, typer.Option(help="Where to send events.")] = None,
    webhook_secret: Annotated[str | None, typer.Option(help="What to sign them with.")] = None,
    smtp_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Take mail there for its people.")
    ] = None,
) -> None:
    """A sandbox Stripe alone, for trying the engine without an account."""
    from retry_engine.sandbox.server import serve

    must_be_free(host, port)
    if smtp_port is not None:
        must_be_free(host, smtp_port)
    serve(
        host=host,
        port=port,
        seed=seed,
        webhook_url=webhook_url,
        webhook_secret=webhook_secret,
        smtp_port=smtp_port,
    )


@commands.command()
def migrate(
    to: Annotated[str, typer.Option(help="A revision: head, base, or its name.")] = "head",
) -> None:
    """Bring the database's schema to a revision."""
    with open_engine() as engine:
        engine.migrate(to)
    print(f"The schema is at {to}.")


@commands.command()
def web(host: Host = None, port: Port = None) -> None:
    """The web process: webhooks, API, probes, metrics."""
    from retry_engine.entrypoints.web.app import serve

    settings = read_settings(webhooks=True)
    must_be_free(host_of(host), port_of(port))
    with with_servers(settings) as (settings, environment):
        if not environment:
            serve(settings, host=host_of(host), port=port_of(port))
        else:
            bring_to_schema(settings)
            serve(settings, host=host_of(host), port=port_of(port))


@commands.command()
def worker() -> None:
    """A worker: handles events and carries out what is due."""
    from retry_engine.entrypoints.worker import run_worker

    with with_servers(read_settings(stripe=True)) as (settings, _):
        raise typer.Exit(run_worker(settings))


@commands.command()
def beat() -> None:
    """The ticks that make workers look for what is due."""
    from retry_engine.entrypoints.worker import run_beat

    with with_servers(read_settings()) as (settings, _):
        raise typer.Exit(run_beat(settings))
