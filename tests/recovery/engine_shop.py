"""The engine beside a shop in the sandbox: real PostgreSQL, real HTTP, its own time."""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import Any

import httpx2
import pytest
from ports import Intercepted, port
from sandbox_shop import SECRET, Shop, inbox, shop
from sqlalchemy import text
from starlette.testclient import TestClient

from retry_engine import bootstrap, settings
from retry_engine.adapters.late_broker import LateBroker
from retry_engine.domain.errors import SettingsError
from retry_engine.entrypoints.web.app import create_app
from retry_engine.store import inbox as stored

__all__ = ["EngineShop", "RealTime", "engine_shop", "inbox", "shop"]


API_TOKEN = "the-token-of-an-operator"


@dataclass
class RealTime:
    """Real time, as far as the engine knows; later than the database server's own."""

    now: datetime = field(default_factory=lambda: datetime(2030, 1, 7, 6, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def passes(self, **span: float) -> None:
        self.now += timedelta(**span)


class Door:
    """The engine's own web application in this process, as Stripe reaches it: by signed POSTs.

    It opens with the first event and closes with its engine.
    """

    def __init__(self, engine: bootstrap.Engine, time: RealTime) -> None:
        self._engine = engine
        self._time = time
        self._client: TestClient | None = None
        self._broker = port(engine.broker)
        self._broker.from_now_on(close=self._close)

    def send(self, event: Mapping[str, Any]) -> httpx2.Response:
        """What Stripe hears when it sends that."""
        if self._client is None:
            app = create_app(self._engine, clock=lambda: self._time.now.timestamp())  # noqa: PLW0108  # time passes
            self._client = TestClient(app)
            self._client.__enter__()
        body = json.dumps(event).encode()
        at = int(self._time.now.timestamp())
        signed = hmac.new(SECRET.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
        answer: httpx2.Response = self._client.post(
            "/webhooks/stripe", content=body, headers={"Stripe-Signature": f"t={at},v1={signed}"}
        )
        return answer

    def _close(self) -> None:
        if self._client is not None:
            self._client.__exit__(None, None, None)
            self._client = None
        self._broker.real.close()


@dataclass
class EngineShop:
    """A shop whose failed invoices an engine works on, one step at a time."""

    shop: Shop
    engine: bootstrap.Engine
    time: RealTime
    delivered: int = 0

    def __post_init__(self) -> None:
        self.door = Door(self.engine, self.time)

    @property
    def channel(self) -> Intercepted:
        """The way to customers, which a test may intercept."""
        return port(self.engine.messenger.channel)

    def sends(self, *events: Mapping[str, Any]) -> None:
        """Stripe sends these, and is told of each that it is safe."""
        for event in events:
            answer = self.door.send(event)
            assert answer.status_code == 200, answer.text

    def deliver_webhooks(self) -> None:
        """Every webhook that has arrived goes into the inbox."""
        events = self.shop.inbox.events()
        new = events[self.delivered :]
        self.delivered = len(events)
        self.sends(*new)

    def works(self, *, leave: str = "") -> None:
        """Until nothing is left to do; actions of the kind `leave` stay claimed."""
        for _ in range(300):
            self.shop.until_quiet()
            self.deliver_webhooks()
            with self.engine.database.transaction() as connection:
                waiting = stored.waiting(connection, now=self.time.now, limit=100)
            if waiting:
                self.engine.worker.process_events(waiting)
            self.engine.worker.dispatch()
            claimed = self.claimed(but=leave)
            for action_id in claimed:
                self.engine.worker.run_action(action_id)
            warned = self.engine.worker.forewarn()
            if not waiting and not claimed and not warned:
                return
        raise AssertionError(f"the engine does not come to rest: {self.engine.health.status()}")

    def claimed(self, *, but: str = "") -> list[int]:
        """Ids of the actions that a worker would find in the broker."""
        query = text(
            "select id from actions where state = 'claimed' and claimed_until > :now"
            " and kind <> :but"
        )
        with self.engine.database.connection() as connection:
            return list(connection.execute(query, {"now": self.time.now, "but": but}).scalars())

    def fails(self, *script: Any, **more: Any) -> tuple[Any, Any, Any]:
        """(customer, method, invoice): a renewal fails and the engine has heard of it."""
        found = self.shop.failed_renewal(*script, **more)
        self.works()
        return found

    def days_pass(self, customer: Any, days: float, *, step_hours: float = 12) -> None:
        """The customer's clock moves on in steps, the engine working at each."""
        left = days * 24
        while left > 1e-9:
            hours = min(step_hours, left)
            self.shop.advances(customer, hours=hours)
            self.works()
            left -= hours

    def case(self, invoice: Any) -> dict[str, Any]:
        return self.engine.operations.show_case(invoice.id)

    def engine_charges(self, invoice: Any) -> list[dict[str, Any]]:
        return [t for t in self.shop.ledger(invoice) if t["source"] == "api"]

    def another_method(self, customer: Any, *script: Any, token: str = "tok_mastercard") -> Any:
        wanted: Any = {
            "type": "card",
            "card": {"token": token},
            "metadata": {"sandbox_script": json.dumps(list(script))},
        }
        method = self.shop.stripe.v1.payment_methods.create(wanted)
        self.shop.stripe.v1.payment_methods.attach(method.id, {"customer": customer.id})
        return method


def build_engine(
    shop: Shop,
    database_url: str,
    redis_url: str,
    time: RealTime,
    *,
    model: Any = None,
    gateway: Any = None,
    channel: Any = None,
    around: Callable[[Any], Any] = Intercepted,
    sleep: Callable[[float], None] = sleep,
    **environment: str,
) -> bootstrap.Engine:
    """An engine against that shop's Stripe, whose ports a test may intercept.

    The ports given take the settings' places; `around` is what the engine gets of its own gateway.
    """
    found = settings.load(
        {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "STRIPE_API_KEY": "sk_test_shop00000000",
            "STRIPE_API_BASE": shop.url,
            "STRIPE_WEBHOOK_SECRET": SECRET,
            "RETRY_ENGINE_API_TOKEN": f"ola:{API_TOKEN}",
            "RETRY_ENGINE_STRIPE_REQUESTS_PER_SECOND": "100000",
            **environment,
        }
    )
    stripe = bootstrap.stripe_gateway(found, pace=lambda _: None, sleep=sleep)
    gateway = gateway or around(stripe)
    if channel is None:
        with suppress(SettingsError):  # none is named
            named = bootstrap.message_channel(
                found, gateway=lambda: gateway, clock=time, sleep=sleep
            )
            channel = Intercepted(named)
    broker: Any = Intercepted(LateBroker(found.redis_url, concurrency=1))
    return bootstrap.build(
        found,
        gateway=gateway,
        channel=channel,
        broker=broker,
        model=model,
        clock=time,
        sleep=sleep,
    )


@pytest.fixture
def engine_shop(shop: Shop, database_url: str, redis_url: str) -> Iterator[EngineShop]:
    time = RealTime()
    engine = build_engine(shop, database_url, redis_url, time)
    with engine:
        yield EngineShop(shop, engine, time)
