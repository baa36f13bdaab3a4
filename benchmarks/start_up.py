"""How soon the processes are there.

    python benchmarks/start_up.py

Starts `web` and `worker` five times against running embedded servers: until /healthz answers, and
until the first task has been done. Also names the heavy libraries that web has loaded.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from retry_engine import bootstrap, settings
from retry_engine.adapters.embedded import EmbeddedServers
from retry_engine.store import inbox

_HEAVY = ("numpy", "pandas", "sklearn", "sksurv", "stripe", "celery")


def main() -> None:
    """Print medians and worst cases in seconds."""
    with (
        tempfile.TemporaryDirectory() as home,
        EmbeddedServers(Path(home), ephemeral=True) as servers,
    ):
        environment = {
            **os.environ,
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            "STRIPE_API_KEY": "sk_test_000000000000",
            "STRIPE_WEBHOOK_SECRET": "whsec_0000",
        }
        with bootstrap.build(settings.load(environment)) as engine:
            engine.migrate()
            web = [_web(environment) for _ in range(5)]
            worker = [_worker(environment, engine, number) for number in range(5)]
    print(f"web answers:        median {statistics.median(web):.2f} s, worst {max(web):.2f} s")
    print(
        f"worker's first task: median {statistics.median(worker):.2f} s, worst {max(worker):.2f} s"
    )
    print("loaded by web:", _loaded_by_web() or "none of " + ", ".join(_HEAVY))


def _start(name: str, environment: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "retry_engine.entrypoints.cli", name, *arguments]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def _web(environment: dict[str, str]) -> float:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begun = time.perf_counter()
    process = _start("web", environment, "--port", str(port))
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/healthz").is_success:
                break
        except httpx.TransportError:
            time.sleep(0.01)
    taken = time.perf_counter() - begun
    process.terminate()
    process.wait()
    return taken


def _worker(environment: dict[str, str], engine: bootstrap.Engine, number: int) -> float:
    event = {"id": f"evt_{number}", "object": "event", "type": "ping", "data": {"object": {}}}
    with engine.database.transaction() as connection:
        rows = inbox.store(connection, event)
    begun = time.perf_counter()
    process = _start("worker", environment)
    engine.broker.publish_events(rows)
    while engine.health.status()["inbox_pending"]:
        time.sleep(0.01)
    taken = time.perf_counter() - begun
    process.terminate()
    process.wait()
    return taken


def _loaded_by_web() -> str:
    code = (
        "import sys; import retry_engine.entrypoints.cli, retry_engine.entrypoints.web.app;"
        f"print(*[m for m in {_HEAVY!r} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return found.stdout.strip()


if __name__ == "__main__":
    main()
