"""The main job, played in minutes: the real engine beside a sandbox Stripe, on a test clock.

The same processes as in production (web, worker, beat, PostgreSQL, Redis), over HTTP and signed
webhooks. Only the time is not real: it stands still until the engine is idle, then moves on to
where something is due.
"""

import json
import logging
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from retry_engine import bootstrap, telemetry
from retry_engine import settings as engine_settings
from retry_engine.adapters.embedded import EmbeddedServers
from retry_engine.domain.errors import RetryEngineError
from retry_engine.entrypoints import demo_report
from retry_engine.entrypoints.supervisor import Child, Supervisor
from retry_engine.sandbox.population.baseline import fixed_schedule

# The clock moves at least this far at a time; what is due in between is done at its end.
_STEP = timedelta(hours=3)
_LONGEST_STEP = timedelta(hours=12)
_START = datetime(2026, 3, 2, 6, tzinfo=UTC)
_PATIENCE_SECONDS = 120.0


class DemoFailed(RetryEngineError):
    """The demo could not be played to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The running processes, as the demo talks to them."""

    engine: bootstrap.Engine
    sandbox: httpx.Client
    supervisor: Supervisor


def run(*, invoices: int, days: int, seed: int, messages: bool, offers: bool, as_json: bool) -> int:
    """Play it and report; 0 if it could be played to the end. `offers` go with `messages`."""
    console = Console(stderr=as_json, highlight=False)
    telemetry.configure("demo", log_format="auto", level=logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console.print(
        f"\n[bold]retry-engine demo[/bold]: {invoices} failed renewals, {days} days, seed {seed}\n"
    )
    started = time.monotonic()
    with _stage(seed, console, messages=messages, offers=offers) as stage:
        played = _play(stage, console, invoices=invoices, days=days, seed=seed)
        if messages:
            people = stage.sandbox.get("/_sandbox/people").raise_for_status().json()
            played["people"] = people["data"][0]["totals"]
    console.print("Playing the same population with Stripe-style retries after 3, 5 and 7 days …")
    baseline = fixed_schedule(seed=seed, invoices=invoices, days=days, start=_START)
    report = demo_report.build(
        engine=played,
        baseline=baseline.as_json(),
        invoices=invoices,
        days=days,
        seed=seed,
        seconds=time.monotonic() - started,
    )
    if as_json:
        json.dump(report, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        demo_report.show(report, console)
    return 0


@contextmanager
def _stage(seed: int, console: Console, *, messages: bool, offers: bool) -> Iterator[Stage]:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="retry-engine-demo-")))
        console.print("Starting PostgreSQL and Redis …")
        servers = stack.enter_context(EmbeddedServers(home, ephemeral=True))
        web_port, sandbox_port = _free_port(), _free_port()
        secret = f"whsec_{secrets.token_hex(16)}"
        environment = {
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            "STRIPE_API_KEY": f"sk_test_{secrets.token_hex(12)}",
            "STRIPE_API_BASE": f"http://127.0.0.1:{sandbox_port}",
            "STRIPE_WEBHOOK_SECRET": secret,
            "RETRY_ENGINE_HOME": str(home),
            "RETRY_ENGINE_MODE": "takeover",
            # the sandbox has no limits to keep to
            "RETRY_ENGINE_STRIPE_REQUESTS_PER_SECOND": "10000",
        }
        if messages:
            smtp_port = _free_port()
            environment["SMTP_URL"] = f"smtp://127.0.0.1:{smtp_port}"
            environment["RETRY_ENGINE_MAIL_FROM"] = "billing@shop.example"
            environment["RETRY_ENGINE_PUBLIC_URL"] = f"http://127.0.0.1:{web_port}"
        if offers:
            policy = home / "policy.toml"
            policy.write_text("[offers]\nenabled = true\n", encoding="utf-8")
            environment["RETRY_ENGINE_CONFIG"] = str(policy)
        engine = stack.enter_context(bootstrap.build(engine_settings.load(environment)))
        engine.migrate()
        console.print("Starting the sandbox Stripe, web, worker and beat …")
        webhook = f"http://127.0.0.1:{web_port}/webhooks/stripe"
        sandbox_arguments = [
            *("--port", str(sandbox_port), "--seed", str(seed)),
            *("--webhook-url", webhook, "--webhook-secret", secret),
            *(("--smtp-port", str(smtp_port)) if messages else ()),
        ]
        children = [
            _child("sandbox", sandbox_arguments, {}),
            _child("web", ["--port", str(web_port)], environment),
            _child("worker", [], environment),
            _child("beat", [], environment),
        ]
        log = stack.enter_context((home / "demo.log").open("ab"))
        supervisor = stack.enter_context(Supervisor(children, stderr=log))
        _wait_for(f"http://127.0.0.1:{sandbox_port}/_sandbox/webhooks", supervisor)
        _wait_for(f"http://127.0.0.1:{web_port}/healthz", supervisor)
        sandbox = stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{sandbox_port}", timeout=60)
        )
        yield Stage(engine=engine, sandbox=sandbox, supervisor=supervisor)


def _child(name: str, arguments: list[str], environment: Mapping[str, str]) -> Child:
    argv = [sys.executable, "-m", "retry_engine.entrypoints.cli", name, *arguments]
    return Child(name=name, argv=argv, env=dict(environment))


def _play(stage: Stage, console: Console, *, invoices: int, days: int, seed: int) -> dict[str, Any]:
    """Move the clock through the days, waiting at each stop until all work is done."""
    made = stage.sandbox.post(
        "/_sandbox/population",
        json={
            "seed": seed,
            "invoices": invoices,
            "days": days,
            "start": int(_START.timestamp()),
        },
    ).raise_for_status()
    clock = made.json()["clock"]
    now, end = _START, _START + timedelta(days=days)
    columns = (
        TextColumn("[bold]{task.fields[day]}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        task = progress.add_task("", total=days * 86_400, day="day  0")
        while now < end:
            now = min(_next_stop(stage, clock, now), end)
            stage.sandbox.post(
                f"/v1/test_helpers/test_clocks/{clock}/advance",
                data={"frozen_time": int(now.timestamp())},
                headers={"Authorization": "Bearer sk_test_demo"},
            ).raise_for_status()
            _until_idle(stage)
            day = (now - _START).days
            progress.update(
                task,
                completed=int((now - _START).total_seconds()),
                description=_figures(stage),
                day=f"day {day:2}",
            )
    summary: dict[str, Any] = stage.sandbox.get("/_sandbox/summary").raise_for_status().json()
    return summary


def _next_stop(stage: Stage, clock: str, now: datetime) -> datetime:
    """Where something is due: in the engine or in the sandbox's own world."""
    candidates = [now + _LONGEST_STEP]
    due = stage.engine.health.status()["next_due_at"]
    if due is not None:
        candidates.append(datetime.fromisoformat(due))
    own = stage.sandbox.get("/_sandbox/next", params={"clock": clock}).json().get("at")
    if own is not None:
        candidates.append(datetime.fromtimestamp(own, UTC))
    return max(min(candidates), now + _STEP)


def _until_idle(stage: Stage) -> None:
    """Poll until nothing is under way on either side."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    status: dict[str, Any] = {}
    while time.monotonic() < deadline:
        # the sandbox first: what it has delivered is in the inbox by then
        if not stage.sandbox.get("/_sandbox/webhooks").json()["pending"]:
            status = stage.engine.health.status()
            if not any(status[k] for k in ("inbox_pending", "actions_due", "actions_in_flight")):
                return
        stage.supervisor.check()
        time.sleep(0.04)
    raise DemoFailed(f"the engine did not come to rest within {_PATIENCE_SECONDS:.0f} s: {status}")


def _figures(stage: Stage) -> str:
    attempts = stage.engine.health.totals()["attempts"]
    made = sum(n for source, _, n in attempts if source == "engine")
    recovered = sum(n for _, outcome, n in attempts if outcome == "succeeded")
    living = sum(stage.engine.health.living()["cases"].values())
    return f"{living} open cases, {made} retries, {recovered} paid"


def _wait_for(url: str, supervisor: Supervisor) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2).is_success:
                return
        except httpx.TransportError:
            pass
        supervisor.check()
        time.sleep(0.05)
    raise DemoFailed(f"{url} did not answer within {_PATIENCE_SECONDS:.0f} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
