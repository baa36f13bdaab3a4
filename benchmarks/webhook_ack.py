"""Acknowledged webhooks per second: the real web process against a bare ASGI application.

    python benchmarks/webhook_ack.py

Both are served by uvicorn with the same settings, one process each, on the same PostgreSQL. The
bare one does what cannot be left out: HMAC of the body, one insert, one commit, per request and
through a pool. A client process with 32 keep-alive connections sends pre-signed, distinct events
of about 3 kB, to the two in turn, so that a busy machine is busy for both. The parts of the web
process that the bare one has not (checks, the broker, logs) run while it is measured; no worker
runs.
"""

import asyncio
import hashlib
import hmac
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psycopg

from retry_engine import bootstrap, settings
from retry_engine.adapters.embedded import EmbeddedServers

_SECRET = "whsec_benchmark"  # made up
_CONNECTIONS = 32
_ROUNDS, _REQUESTS = 7, 6000
_TABLE = "create table bare_inbox (id text primary key, payload jsonb not null)"


# -- the bare application, in a process of its own


def bare(dsn: str, port: int) -> None:
    """Serve HMAC and one insert."""
    import uvicorn
    from psycopg_pool import AsyncConnectionPool

    secret = _SECRET.encode()
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        dsn, min_size=8, max_size=8, open=False, kwargs={"autocommit": True}
    )

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send, pool)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        header = dict(scope["headers"]).get(b"stripe-signature", b"").decode()
        given = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
        signed = f"{given.get('t')}.".encode() + body
        expected = hmac.new(secret, signed, hashlib.sha256).hexdigest()
        status = 400
        if hmac.compare_digest(expected, given.get("v1", "")):
            async with pool.connection() as connection:
                await connection.execute(
                    "insert into bare_inbox (id, payload) values (%s, %s) on conflict do nothing",
                    (json.loads(body)["id"], body.decode()),
                )
            status = 200
        await send({"type": "http.response.start", "status": status, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": b'{"received":true}'})

    # the same as the web process's own
    uvicorn.run(
        application,
        host="127.0.0.1",
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="on",
    )


_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"17")]


async def _lifespan(receive: Any, send: Any, pool: Any) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await pool.open(wait=True)
            await send({"type": "lifespan.startup.complete"})
        else:
            await pool.close()
            await send({"type": "lifespan.shutdown.complete"})
            return


# -- the client, in a process of its own


def client(port: int, first: int, count: int) -> None:
    """Send `count` events; print {"seconds", "latencies"} as JSON."""
    requests = [_request(number) for number in range(first, first + count)]
    print(json.dumps(asyncio.run(_send_all(port, requests))))


async def _send_all(port: int, requests: list[bytes]) -> dict[str, Any]:
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(_CONNECTIONS)]
    taken: list[float] = []
    waiting = iter(requests)

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for request in waiting:
            begun = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"refused: {head[:200]!r}")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            taken.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(one(reader, writer) for reader, writer in streams))
    seconds = time.perf_counter() - begun
    for _, writer in streams:
        writer.close()
    taken.sort()
    return {"seconds": seconds, "p50": taken[len(taken) // 2], "p99": taken[len(taken) * 99 // 100]}


def _request(number: int) -> bytes:
    body = json.dumps(_event(number)).encode()
    now = int(time.time())
    signature = hmac.new(_SECRET.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
    return (
        b"POST /webhooks/stripe HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Stripe-Signature: t=%d,v1=%s\r\nContent-Length: %d\r\n\r\n"
        % (now, signature.encode(), len(body))
    ) + body


def _event(number: int) -> dict[str, Any]:
    lines = [
        {
            "id": f"il_{number}_{line}",
            "object": "line_item",
            "amount": 1900,
            "currency": "eur",
            "description": "1 x Membership (at 19.00 / month)",
            "metadata": {"plan": "membership", "seat": f"{number}"},
            "period": {"start": 1767225600, "end": 1769904000},
            "pricing": {"type": "price_details", "price_details": {"price": "price_membership"}},
        }
        for line in range(6)
    ]
    invoice = {
        "id": f"in_{number}",
        "object": "invoice",
        "customer": f"cus_{number}",
        "status": "open",
        "amount_due": 11400,
        "amount_remaining": 11400,
        "currency": "eur",
        "lines": {"object": "list", "data": lines, "has_more": False},
        "parent": {"subscription_details": {"subscription": f"sub_{number}"}},
    }
    return {
        "id": f"evt_{number}",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": 1767225600,
        "livemode": False,
        "type": "invoice.payment_failed",
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "data": {"object": invoice},
    }


# -- the comparison


def main() -> None:
    """Run both in turn and print what came out."""
    with (
        tempfile.TemporaryDirectory() as home,
        EmbeddedServers(Path(home), ephemeral=True) as servers,
    ):
        environment = {
            **os.environ,
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            "STRIPE_API_KEY": "sk_test_000000000000",
            "STRIPE_WEBHOOK_SECRET": _SECRET,
        }
        with bootstrap.build(settings.load(environment)) as engine:
            engine.migrate()
        with psycopg.connect(servers.postgres_dsn) as connection:
            connection.execute(_TABLE)
        ports = {"bare": _free_port(), "web": _free_port()}
        cli = [sys.executable, "-m", "retry_engine.entrypoints.cli"]
        me = [sys.executable, __file__]
        processes = [
            subprocess.Popen([*me, "bare", servers.postgres_dsn, str(ports["bare"])]),
            subprocess.Popen(
                [*cli, "web", "--port", str(ports["web"])],
                env=environment,
                stderr=subprocess.DEVNULL,
            ),
        ]
        try:
            for port in ports.values():
                _wait_for(port)
            found = _rounds(ports, me)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()
        with psycopg.connect(servers.postgres_dsn) as connection:
            stored = {
                table: connection.execute(f"select count(*) from {table}").fetchone()
                for table in ("bare_inbox", "inbox")
            }
    _print(found, stored)


def _rounds(ports: dict[str, int], me: list[str]) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ports}
    for turn in range(_ROUNDS + 1):
        names = list(ports) if turn % 2 else list(reversed(ports))
        for name in names:
            numbers = [str(turn * _REQUESTS), str(_REQUESTS)]
            sent = subprocess.run(
                [*me, "client", str(ports[name]), *numbers], capture_output=True, check=True
            )
            if turn:  # the first round warms up
                found[name].append(json.loads(sent.stdout))
    return found


def _print(found: dict[str, list[dict[str, float]]], stored: dict[str, Any]) -> None:
    rates = {name: [_REQUESTS / r["seconds"] for r in rounds] for name, rounds in found.items()}
    print(f"{_ROUNDS} rounds of {_REQUESTS} events, {_CONNECTIONS} connections; medians")
    print(f"{'':6}{'acks/s':>9}{'lowest':>9}{'p50 ms':>9}{'p99 ms':>9}")
    for name, rounds in found.items():
        middle, low = statistics.median(rates[name]), min(rates[name])
        p50, p99 = (statistics.median(r[p] for r in rounds) * 1000 for p in ("p50", "p99"))
        print(f"{name:6}{middle:9.0f}{low:9.0f}{p50:9.1f}{p99:9.1f}")
    pairs = [web / bare for web, bare in zip(rates["web"], rates["bare"], strict=True)]
    print(
        f"web / bare: {statistics.median(pairs):.2f} (rounds: {min(pairs):.2f} to {max(pairs):.2f})"
    )
    print("stored:", {table: count[0] for table, count in stored.items()})


def _wait_for(port: int) -> None:
    for _ in range(2000):
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz")
        except httpx.TransportError:
            time.sleep(0.01)
        else:
            return
    raise SystemExit(f"nothing answers on port {port}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    if sys.argv[1:2] == ["bare"]:
        bare(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1:2] == ["client"]:
        client(*(int(argument) for argument in sys.argv[2:]))
    else:
        main()
