"""Real processes, real servers, and `kill -9` of any of them.

Nothing is lost and nobody pays twice. web, worker and beat run as in production beside a sandbox
Stripe whose answers and webhooks go wrong in every way it knows, while the clock plays a month.
"""

import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx
import psutil
import pytest
from processes import eventually, flush_redis

from retry_engine import bootstrap, settings
from retry_engine.entrypoints.supervisor import Child, Supervisor

pytestmark = pytest.mark.integration

START = datetime(2026, 3, 2, 6, tzinfo=UTC)
KEY = {"Authorization": "Bearer sk_test_crashes"}
FAULTS = {
    "api": [
        {"fault": fault, "probability": 0.03, "on": "*"}
        for fault in ("rate_limit", "lock_timeout", "conflict", "error_before", "drop_before")
    ]
    + [{"fault": "drop_after", "probability": 0.25, "on": "*/pay"}],
    "webhooks": {"duplicate": 0.3, "reorder": 0.3, "drop_first": 0.2},
}


@dataclass
class Stack:
    """The installation under test."""

    engine: bootstrap.Engine
    supervisor: Supervisor
    sandbox: httpx.Client
    redis_url: str

    def advance(self, clock: str, to: datetime) -> None:
        """Move the clock; the faults may befall these very calls."""
        path, at = f"/v1/test_helpers/test_clocks/{clock}", int(to.timestamp())

        def is_there() -> bool:
            try:
                found = self.sandbox.get(path, headers=KEY)
                if found.is_success and found.json()["frozen_time"] == at:
                    return True
                self.sandbox.post(f"{path}/advance", data={"frozen_time": at}, headers=KEY)
            except httpx.TransportError:
                pass
            return False

        assert eventually(is_there, within=60)

    def kill(self, name: str) -> None:
        """`kill -9`, of the process and all that it started."""
        child = next(c for c in self.supervisor.children if c.name == name)
        if child.process is None or child.process.poll() is not None:
            return
        family = psutil.Process(child.process.pid)
        for process in (family, *family.children(recursive=True)):
            with_pid = process.pid
            os.kill(with_pid, signal.SIGKILL)

    def is_idle(self) -> bool:
        self.supervisor.check()
        if self.sandbox.get("/_sandbox/webhooks").json()["pending"]:
            return False
        status = self.engine.health.status()
        return not any(status[key] for key in ("inbox_pending", "actions_due", "actions_in_flight"))

    def ledger(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.sandbox.get("/_sandbox/ledger").json()["data"]
        return sorted(found, key=lambda entry: entry["at"])


@pytest.fixture
def stack(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    web, stripe = _free_port(), _free_port()
    secret = f"whsec_{secrets.token_hex(8)}"
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "STRIPE_API_KEY": "sk_test_crashes0000",
        "STRIPE_API_BASE": f"http://127.0.0.1:{stripe}",
        "STRIPE_WEBHOOK_SECRET": secret,
        "RETRY_ENGINE_HOME": str(tmp_path),
        "RETRY_ENGINE_WORKERS": "2",
        "RETRY_ENGINE_STRIPE_REQUESTS_PER_SECOND": "10000",
    }
    hook = f"http://127.0.0.1:{web}/webhooks/stripe"
    children = [
        _child("sandbox", "--port", str(stripe), "--webhook-url", hook, "--webhook-secret", secret),
        _child("web", "--port", str(web), **environment),
        _child("worker", **environment),
        _child("beat", **environment),
    ]
    with (
        (tmp_path / "log").open("ab") as log,
        bootstrap.build(settings.load(environment)) as engine,
        Supervisor(children, stderr=log) as supervisor,
        httpx.Client(base_url=f"http://127.0.0.1:{stripe}", timeout=30) as sandbox,
    ):
        assert eventually(lambda: _answers(f"http://127.0.0.1:{stripe}/_sandbox/webhooks"))
        assert eventually(lambda: _answers(f"http://127.0.0.1:{web}/healthz"))
        yield Stack(engine, supervisor, sandbox, redis_url)


def _child(name: str, *arguments: str, **environment: str) -> Child:
    argv = [sys.executable, "-m", "retry_engine.entrypoints.cli", name, *arguments]
    return Child(name=name, argv=argv, env=environment)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_month_of_kills_and_faults_charges_nobody_twice_and_loses_no_case(stack: Stack) -> None:
    dice = Random(4)
    made = stack.sandbox.post(
        "/_sandbox/population",
        json={"seed": 9, "invoices": 20, "days": 30, "start": int(START.timestamp())},
    ).json()
    stack.sandbox.post("/_sandbox/faults", json=FAULTS).raise_for_status()
    victims = iter(["worker", "web", "worker", "redis", "beat", "worker"])
    now = START
    for step in range(20):
        now += timedelta(hours=42)
        stack.advance(made["clock"], now)
        if step % 3 == 1:
            victim = next(victims, "worker")
            # in the middle of whatever is under way
            eventually(lambda: dice.random() < 0.05, within=0.6)
            flush_redis(stack.redis_url) if victim == "redis" else stack.kill(victim)
        assert eventually(stack.is_idle, within=150), stack.engine.health.status()
    stack.sandbox.post("/_sandbox/faults", json={}).raise_for_status()
    assert eventually(stack.is_idle, within=150), stack.engine.health.status()

    _nobody_paid_twice(stack)
    _the_rules_were_kept(stack)
    assert stack.engine.operations.dead_letters() == []
    assert not any(stack.engine.health.invariants().values())
    failed = {t["invoice"] for t in stack.ledger() if t["at"] < START.timestamp() + 8 * 86_400}
    cases = {c["invoice"]: c for c in stack.engine.operations.list_cases(limit=200)["data"]}
    assert failed <= set(cases), "a failed invoice without a case"
    for invoice in failed:
        assert cases[invoice]["state"] in ("closed", "in_review"), cases[invoice]
    assert any(c["close_reason"] == "recovered_by_engine" for c in cases.values())


def _nobody_paid_twice(stack: Stack) -> None:
    paid = [t["invoice"] for t in stack.ledger() if t["outcome"] == "succeeded"]
    assert len(paid) == len(set(paid))
    keys = [t["idempotency_key"] for t in stack.ledger() if t["source"] == "api"]
    assert len(keys) == len(set(keys))
    for invoice in set(paid):
        entries = [t for t in stack.ledger() if t["invoice"] == invoice]
        assert entries[-1]["outcome"] == "succeeded", "charged after it was paid"


def _the_rules_were_kept(stack: Stack) -> None:
    last: dict[str, dict[str, Any]] = {}
    dead: set[str] = set()
    tries: dict[str, int] = {}
    for entry in stack.ledger():
        card = entry["fingerprint"] or entry["payment_method"]
        tries[entry["invoice"]] = tries.get(entry["invoice"], 0) + 1
        if entry["source"] == "api":
            assert card not in dead, "a hard decline was retried on the same card"
            before = last.get(card)
            if before is not None and before["outcome"] == "failed":
                assert entry["at"] - before["at"] >= 24 * 3600
            assert tries[entry["invoice"]] <= 8
        last[card] = entry
        if entry["decline_code"] in ("lost_card", "stolen_card", "pickup_card", "expired_card"):
            dead.add(card)
