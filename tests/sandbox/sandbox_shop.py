"""A sandbox Stripe on real HTTP, and somebody who takes its webhooks."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import uvicorn
from stripe import StripeClient

from retry_engine.sandbox.accounts import webhook_endpoints
from retry_engine.sandbox.app import create_app
from retry_engine.sandbox.runtime import Sandbox

SECRET = "whsec_test"
START = datetime(2026, 3, 2, 6, tzinfo=UTC)


@dataclass
class Wall:
    """Real time, as far as the sandbox knows."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def passes(self, **span: float) -> None:
        self.now += timedelta(**span)


@dataclass
class Inbox:
    """Everything that reached the webhook endpoint; `refuse` of the next ones get a 503."""

    url: str = ""
    received: list[tuple[str, str]] = field(default_factory=list)
    refuse: int = 0

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(payload) for payload, _ in self.received]

    def types(self) -> set[str]:
        return {event["type"] for event in self.events()}


@dataclass
class Shop:
    """A merchant with a Stripe account in the sandbox."""

    sandbox: Sandbox
    url: str
    wall: Wall
    inbox: Inbox
    stripe: StripeClient
    http: httpx.Client

    def client(self, key: str = "sk_test_shop", **options: Any) -> StripeClient:
        return StripeClient(key, base_addresses={"api": self.url}, **options)

    def customer_with(self, *script: Any, kind: str = "card", **more: Any) -> tuple[Any, Any]:
        """A customer whose method follows the script, and that method."""
        clock = self.stripe.v1.test_helpers.test_clocks.create(
            {"frozen_time": int(START.timestamp())}
        )
        customer = self.stripe.v1.customers.create({"test_clock": clock.id})
        detail: dict[str, Any] = {"card": {"token": "tok_visa"}}
        if kind == "sepa_debit":
            detail = {"sepa_debit": {"iban": "DE89370400440532013000"}}
        metadata = {"sandbox_script": json.dumps(list(script))} if script else {}
        wanted: Any = {"type": kind, "metadata": metadata, **detail, **more}
        method = self.stripe.v1.payment_methods.create(wanted)
        self.stripe.v1.payment_methods.attach(method.id, {"customer": customer.id})
        self.stripe.v1.customers.update(
            customer.id, {"invoice_settings": {"default_payment_method": method.id}}
        )
        return self.stripe.v1.customers.retrieve(customer.id), method

    def subscribed(self, customer: Any) -> Any:
        price = self.stripe.v1.prices.create(
            {
                "currency": "usd",
                "unit_amount": 2000,
                "recurring": {"interval": "month"},
                "product_data": {"name": "Plan"},
            }
        )
        return self.stripe.v1.subscriptions.create(
            {"customer": customer.id, "items": [{"price": price.id}]}
        )

    def advances(self, customer: Any, **span: float) -> datetime:
        """Move the customer's clock and wait until it is ready and all of it was delivered."""
        clocks = self.stripe.v1.test_helpers.test_clocks
        clock = clocks.retrieve(customer.test_clock)
        to = clock.frozen_time + int(timedelta(**span).total_seconds())
        clocks.advance(clock.id, {"frozen_time": to})
        self.until_quiet()
        return datetime.fromtimestamp(to, UTC)

    def until_quiet(self) -> None:
        deadline = time.monotonic() + 120
        while self.http.get("/_sandbox/webhooks").json()["pending"]:
            assert time.monotonic() < deadline, "webhooks are still pending"
            time.sleep(0.01)

    def failed_renewal(self, *script: Any, **more: Any) -> tuple[Any, Any, Any]:
        """(customer, method, open invoice): the first payment went through, the renewal fails."""
        customer, method = self.customer_with("succeeded", *script, **more)
        self.subscribed(customer)
        self.advances(customer, days=31, hours=2)
        return customer, method, self.newest_invoice(customer)

    def newest_invoice(self, customer: Any) -> Any:
        return self.stripe.v1.invoices.list({"customer": customer.id, "limit": 1}).data[0]

    def faults(self, **document: Any) -> None:
        self.http.post("/_sandbox/faults", json=document).raise_for_status()

    def sigma_runs(self, title: str, **more: Any) -> dict[str, Any]:
        """A scheduled Sigma query has run: its run object."""
        answer = self.http.post("/_sandbox/sigma", json={"title": title, **more})
        run: dict[str, Any] = answer.raise_for_status().json()
        return run

    def ledger(self, invoice: Any = None) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.http.get("/_sandbox/ledger").json()["data"]
        return [r for r in rows if invoice is None or r["invoice"] == invoice.id]


class _Server(ThreadingHTTPServer):
    # Stripe sends a change's events all at once. With the library's queue of five the others'
    # connections are dropped, and tried again a whole second later.
    request_queue_size = 128


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    box = Inbox()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept

        def do_POST(self) -> None:
            payload = self.rfile.read(int(self.headers["Content-Length"])).decode()
            refused = box.refuse > 0
            if refused:
                box.refuse -= 1
            else:
                box.received.append((payload, self.headers["Stripe-Signature"]))
            self.send_response(503 if refused else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    box.url = f"http://127.0.0.1:{server.server_port}/hook"
    # asked this often whether to end: a test does not wait half a second for that
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield box
    server.shutdown()
    server.server_close()


@pytest.fixture
def shop(inbox: Inbox) -> Iterator[Shop]:
    wall = Wall()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    sandbox = Sandbox(
        now=wall, seed=7, backoff=(0.01, 0.02, 0.05, 0.1, 0.2), public_url=url, smtp_port=0
    )
    webhook_endpoints.create(
        sandbox.platform, {"url": inbox.url, "enabled_events": ["*"]}, secret=SECRET
    )
    config = uvicorn.Config(create_app(sandbox), host="127.0.0.1", port=port, log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    client = StripeClient("sk_test_shop", base_addresses={"api": url})
    with httpx.Client(base_url=url, timeout=120.0) as http:
        yield Shop(sandbox, url, wall, inbox, client, http)
    server.should_exit = True
    thread.join(10)
