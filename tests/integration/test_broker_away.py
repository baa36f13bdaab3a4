"""The broker goes away for a second, again and again, with work in flight: nobody falls over."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from processes import eventually

from retry_engine import bootstrap, settings
from retry_engine.adapters import server_programs
from retry_engine.store import inbox as stored

pytestmark = pytest.mark.integration

TIMES = 4


@dataclass
class Broker:
    """A Valkey that can be killed and started again on the same socket."""

    folder: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def socket(self) -> str:
        return str(self.folder / "broker.sock")

    def starts(self) -> None:
        valkey = str(server_programs.installed().valkey)
        options = ["--port", "0", "--unixsocket", self.socket, "--save", "", "--dir"]
        self.process = subprocess.Popen(
            [valkey, *options, str(self.folder)], stdout=subprocess.DEVNULL
        )
        assert eventually(self._answers)

    def _answers(self) -> bool:
        try:
            with redis.Redis(unix_socket_path=self.socket) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def dies(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    found = Broker(tmp_path)
    found.starts()
    yield found
    found.dies()


@pytest.fixture
def slow_stripe() -> Iterator[str]:
    """Answers every question after a while: such an invoice is not there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(0.1)
            body = b'{"error": {"type": "invalid_request_error", "code": "resource_missing"}}'
            self.send_response(404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_worker_lives_through_a_broker_that_goes_away(
    broker: Broker, slow_stripe: str, database_url: str, tmp_path: Path
) -> None:
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": f"redis+socket://{broker.socket}",
        "STRIPE_API_KEY": "sk_test_away0000000",
        "STRIPE_API_BASE": slow_stripe,
        "RETRY_ENGINE_HOME": str(tmp_path),
        "RETRY_ENGINE_WORKERS": "2",
        "PATH": "/usr/bin:/bin",
    }
    argv = [sys.executable, "-m", "retry_engine.entrypoints.cli"]
    log = tmp_path / "log"
    with bootstrap.build(settings.load(environment)) as engine, log.open("wb") as out:
        worker = subprocess.Popen([*argv, "worker"], env=environment, stdout=out, stderr=out)
        beat = subprocess.Popen([*argv, "beat"], env=environment, stdout=out, stderr=out)
        try:
            for turn in range(TIMES):
                before: int = engine.health.status()["inbox_pending"]

                def is_falling(before: int = before) -> bool:
                    return bool(engine.health.status()["inbox_pending"] < before + 20)

                with engine.database.transaction() as connection:
                    for number in range(20):
                        stored.store(connection, _event(f"{turn}_{number}"))
                engine.worker.sweep()
                assert eventually(is_falling, within=40), _tail(log)
                broker.dies()
                eventually(lambda: False, within=(0.3, 1.0)[turn % 2])
                broker.starts()
                assert worker.poll() is None, _tail(log)
            assert eventually(lambda: engine.health.status()["inbox_pending"] == 0, within=60), (
                _tail(log)
            )
            assert worker.poll() is None, _tail(log)
            assert beat.poll() is None, _tail(log)
        finally:
            for process in (worker, beat):
                _ends(process)


def _event(name: str) -> dict[str, Any]:
    body = {"id": f"in_{name}", "object": "invoice"}
    return {"id": f"evt_{name}", "type": "invoice.payment_failed", "data": {"object": body}}


def _ends(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            for one in (*family, psutil.Process(process.pid)):
                one.kill()
            process.wait()


def _tail(log: Path) -> str:
    return log.read_text()[-6000:]
