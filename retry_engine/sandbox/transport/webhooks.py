"""Sending events: signed, in no particular order, again until somebody takes them."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from random import Random

import httpx

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.transport.faults import Faults

# Seconds until the next try of a delivery that was not taken. Stripe's are hours; a sandbox is
# for trying things out, and what must be seen is that it comes again.
BACKOFF = (0.2, 0.5, 1.0, 2.0, *(5.0 for _ in range(60)))

_TIMEOUT = 10.0
_AT_ONCE = 24


def signature(payload: str, secret: str, *, at: int) -> str:
    """The `Stripe-Signature` header."""
    digest = hmac.new(secret.encode(), f"{at}.{payload}".encode(), hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


@dataclass(slots=True)
class _Delivery:
    account: Account
    event: Obj
    endpoint: Obj
    secret: str
    tries: int = 0


class WebhookDelivery:
    """Delivers the events of all accounts to the endpoints of the platform.

    An endpoint made with `connect` gets the connected accounts' events, any other its own.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        rng: Random,
        faults: Faults,
        backoff: Sequence[float] = BACKOFF,
    ) -> None:
        self._now = now
        self._rng = rng
        self._faults = faults
        self._backoff = backoff
        self._waiting: list[_Delivery] = []
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = 0

    @property
    def pending(self) -> int:
        """Deliveries that nobody has acknowledged yet."""
        return self._open

    def accept(self, account: Account, event: Obj, platform: Account) -> None:
        """Queue an event for every endpoint that wants it."""
        foreign = account is not platform
        for endpoint in platform.tables["webhook_endpoint"].values():
            hidden = platform.hidden[endpoint["id"]]
            wanted = endpoint["enabled_events"]
            if endpoint["status"] != "enabled" or hidden["connect"] != foreign:
                continue
            if "*" not in wanted and event["type"] not in wanted:
                continue
            event["pending_webhooks"] += 1
            self._open += 1
            self._waiting.append(_Delivery(account, event, endpoint, hidden["secret"]))
            self._wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        limits = httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=_AT_ONCE)
        gate = asyncio.Semaphore(_AT_ONCE)
        async with httpx.AsyncClient(timeout=_TIMEOUT, limits=limits, trust_env=False) as client:
            try:
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    batch, self._waiting = self._waiting, []
                    # companions of one change reach the other side in any order
                    self._rng.shuffle(batch)
                    for delivery in batch:
                        self._spawn(client, gate, delivery)
            finally:
                for task in self._tasks:
                    task.cancel()

    def _spawn(
        self, client: httpx.AsyncClient, gate: asyncio.Semaphore, delivery: _Delivery
    ) -> None:
        task = asyncio.create_task(self._deliver(client, gate, delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(
        self, client: httpx.AsyncClient, gate: asyncio.Semaphore, delivery: _Delivery
    ) -> None:
        await asyncio.sleep(self._held_back())
        refuse_first = self._chance(self._faults.webhooks.drop_first)
        left = 2 if self._chance(self._faults.webhooks.duplicate) else 1
        for pause in self._backoff:
            delivery.tries += 1
            lost = refuse_first and delivery.tries == 1
            while left and not lost and await self._post(client, gate, delivery):
                left -= 1
            if not left:
                break
            await asyncio.sleep(pause)
        else:
            hidden = delivery.account.hidden.setdefault(delivery.event["id"], {})
            hidden["undelivered"] = True
        delivery.event["pending_webhooks"] -= 1
        self._open -= 1

    def _held_back(self) -> float:
        way = self._faults.webhooks
        overtaken = self._rng.uniform(0, 2) if self._chance(way.reorder) else 0.0
        return way.delay + overtaken

    def _chance(self, share: float) -> bool:
        return share > 0 and self._rng.uniform(0, 1) < share

    async def _post(
        self, client: httpx.AsyncClient, gate: asyncio.Semaphore, delivery: _Delivery
    ) -> bool:
        payload = json.dumps(self._rendered(delivery), separators=(",", ":"))
        at = int(self._now().timestamp())
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(payload, delivery.secret, at=at),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        url = delivery.endpoint["url"]
        async with gate:
            try:
                reply = await client.post(url, content=payload, headers=headers)
            except httpx.HTTPError:
                return False
        return reply.is_success

    def _rendered(self, delivery: _Delivery) -> Obj:
        event = deepcopy(delivery.event)
        version = self._faults.event_api_version or delivery.endpoint["api_version"]
        if version:
            event["api_version"] = version
        return event
