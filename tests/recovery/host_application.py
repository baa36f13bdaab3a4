"""A host application that is told of its customers' cases, and the engine that tells it."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import stripe
from engine_shop import EngineShop
from sqlalchemy import text

SECRET = "the_hosts_own_secret_0123"

# Another answer than an HTTP status.
LOST, HANGS, DRIPS = 0, -1, -2

Telling = Callable[[EngineShop], None]


@dataclass
class Host:
    """Answers as it is told, one answer a call, then `always`; keeps what is rightly signed."""

    answers: list[int] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""
    always: int = 200
    free: threading.Event = field(default_factory=threading.Event)

    def types(self) -> list[str]:
        """Of what it was told, each event once, by when it happened."""
        return [event["type"] for event in self.told()]

    def told(self) -> list[dict[str, Any]]:
        """What it was told, each event once, by when it happened."""
        by_id = {event["id"]: event for event in self.events}
        return sorted(by_id.values(), key=lambda event: str(event["created"]))

    def verified(self, body: bytes, signature: str) -> dict[str, Any]:
        """The event, checked as Stripe's own library checks a webhook."""
        stripe.WebhookSignature.verify_header(body.decode(), signature, SECRET, tolerance=300)
        event: dict[str, Any] = json.loads(body)
        return event


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            event = host.verified(body, self.headers["Retry-Engine-Signature"])
            host.paths.append(self.path)
            answer = host.answers.pop(0) if host.answers else host.always
            if answer == HANGS:
                host.free.wait()
            if answer == DRIPS:
                for byte in b"HTTP/1.1 200 OK\r\nX-Slow: ":
                    self.wfile.write(bytes([byte]))
                    if host.free.wait(0.05):
                        break
            if answer <= 0:
                self.connection.close()
                return
            host.bodies.append(body)
            host.events.append(event)
            self.send_response(answer)
            if 300 <= answer < 400:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # connections that we close
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    host.url = f"http://127.0.0.1:{server.server_port}/events?of=the-shop"
    yield host
    host.free.set()
    server.shutdown()
    server.server_close()


def tells(here: EngineShop) -> None:
    """What a worker does with the outbox until nothing of it is due."""
    query = text("select id from outbox where state = 'pending' and claimed_until > :now")
    for _ in range(200):
        here.engine.worker.dispatch()
        with here.engine.database.connection() as connection:
            ids = list(connection.execute(query, {"now": here.time.now}).scalars())
        if not ids:
            return
        here.engine.worker.deliver(ids)
    raise AssertionError("the outbox does not come to rest")


def outbox(here: EngineShop) -> list[Any]:
    """Its rows, oldest first."""
    with here.engine.database.connection() as connection:
        return list(connection.execute(text("select * from outbox order by since, id")))
