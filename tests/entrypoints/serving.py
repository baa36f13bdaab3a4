"""The web process's application under a real server."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import text

from retry_engine import bootstrap, settings
from retry_engine.entrypoints.web.app import create_app, server_config
from retry_engine.entrypoints.web.connections import Keeper, Limits

NOW = 1_900_000_000.0
OLD, NEW = "whsec_old", "whsec_new"
VIEWER, OPERATOR, ADMIN = (f"the-token-of-{name}" for name in ("vic", "ola", "ann"))
METRICS = "the-token-of-prometheus"
TOKENS = f"ann:admin:{ADMIN},ola:{OPERATOR},vic:viewer:{VIEWER}"


def signed(body: bytes, *, at: float = NOW) -> bytes:
    """The header that signs that body, as a line."""
    digest = hmac.new(NEW.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return b"Stripe-Signature: t=%d,v1=%s\r\n" % (at, digest.encode())


class Web:
    """The web process's application under a real server."""

    def __init__(
        self, engine: bootstrap.Engine, *, host: str = "127.0.0.1", limits: Limits | None = None
    ) -> None:
        self.engine = engine
        self.keeper = Keeper(limits or Limits())
        app = create_app(engine, clock=lambda: NOW, host=host, keeper=self.keeper)
        config = server_config(app, self.keeper, host="127.0.0.1", port=0)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> "Web":
        self.thread.start()
        pause = threading.Event()
        while not self.server.started:
            pause.wait(0.005)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10)
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.server.should_exit = True
        self.thread.join(10)

    def post(
        self, event: Any, *, secret: str = NEW, age: float = 0, header: str | None = None
    ) -> httpx.Response:
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        at = int(NOW - age)
        signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        signature = f"t={at},v1={signed}" if header is None else header
        return self.http.post(
            "/webhooks/stripe", content=body, headers={"Stripe-Signature": signature}
        )

    def stored(self) -> list[str]:
        with self.engine.database.connection() as connection:
            return list(connection.execute(text("select id from inbox order by id")).scalars())


def started(database_url: str, redis_url: str, **more: str) -> bootstrap.Engine:
    return bootstrap.build(
        settings.load(
            {
                "DATABASE_URL": database_url,
                "REDIS_URL": redis_url,
                "STRIPE_API_KEY": "sk_test_door0000000",
                "STRIPE_WEBHOOK_SECRET": f"{OLD},{NEW}",
                **more,
            }
        )
    )


@pytest.fixture
def web(database_url: str, redis_url: str) -> Iterator[Web]:
    with started(database_url, redis_url) as engine, Web(engine) as running:
        yield running


@pytest.fixture
def guarded(database_url: str, redis_url: str) -> Iterator[Web]:
    engine = started(
        database_url, redis_url, RETRY_ENGINE_API_TOKEN=TOKENS, RETRY_ENGINE_METRICS_TOKEN=METRICS
    )
    with engine, Web(engine) as running:
        yield running
