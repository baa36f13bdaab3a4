"""Due charges dispatched and settled per second, against a bare Celery no-op drain.

    python benchmarks/dispatch_settle.py --cases 1000
    python benchmarks/dispatch_settle.py --cases 1000 --planned 1000000

Each charge is the whole of it: claimed, handed to the worker, Stripe read again (three calls),
rules, intent committed, paid over HTTP, outcome committed, case closed. Stripe is a stub in a
process of its own that answers at once; what it costs in processor time is taken out, as it shares
our two cores. The drain: as many no-op tasks through the same broker, settings and pool. The floor:
nothing but the four calls through Stripe's library and, by bare psycopg, an intent and an outcome
committed, in as many processes. `--planned` puts so many charges of later days into the schedule
first.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import redis
from celery import Celery

from retry_engine import bootstrap, settings
from retry_engine.adapters.embedded import EmbeddedServers
from retry_engine.adapters.stripe.gateway import StripeGateway
from retry_engine.recovery.gate import permit

_POOL = "2"
_START = datetime(2026, 3, 2, tzinfo=UTC)


# -- the stub


def serve_stub(port: int, busy: Any) -> None:
    """Answers the four calls that a charge makes."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
            except asyncio.IncompleteReadError:
                return
            line, _, rest = head.partition("\r\n")
            length = next(
                (
                    int(h.split(":")[1])
                    for h in rest.split("\r\n")
                    if h.lower().startswith("content-length:")
                ),
                0,
            )
            if length:
                await reader.readexactly(length)
            body = json.dumps(_answer(line.split(" ")[1].split("?")[0])).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                b"request-id: req_1\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
            busy.value = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])

    async def serve() -> None:
        server = await asyncio.start_server(connection, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(serve())


def _answer(path: str) -> dict[str, Any]:
    parts = path.split("/")
    if parts[2] == "charges":
        return {"object": "list", "data": [], "has_more": False, "url": path}
    number = parts[3].rpartition("_")[2]
    if parts[2] == "payment_methods":
        card = {"brand": "visa", "funding": "debit", "country": "DE", "exp_year": 2030,
                "exp_month": 1, "fingerprint": f"fp_{number}", "last4": "4242"}  # fmt: skip
        return {"id": f"pm_{number}", "object": "payment_method", "type": "card", "created": 1,
                "customer": f"cus_{number}", "card": card}  # fmt: skip
    return {
        "id": f"in_{number}",
        "object": "invoice",
        "status": "paid" if parts[-1] == "pay" else "open",
        "customer": f"cus_{number}",
        "amount_remaining": 0 if parts[-1] == "pay" else 2000,
        "currency": "eur",
        "created": 1772430000,
        "collection_method": "charge_automatically",
        "auto_advance": False,
        "attempted": True,
        "next_payment_attempt": None,
        "billing_reason": "subscription_cycle",
        "default_payment_method": None,
        "parent": None,
    }


# -- the cases

_FILL = """
insert into policies (version, content) values ('{policy}', '{{}}') on conflict do nothing;
insert into cases (id, invoice_id, customer_id, state, mode, policy_version, amount_remaining,
                   currency, opened_at, deadline_at, default_method_id, enriched)
  select 'case_' || n, 'in_' || n, 'cus_' || n, 'open', 'takeover', '{policy}', 2000, 'eur',
         '{opened}', '{deadline}', 'pm_' || n, true from generate_series({first}, {last}) n;
insert into payment_methods (id, customer_id, type, card_brand, card_funding, card_country,
                             card_exp_year, card_exp_month, card_fingerprint, added_at)
  select 'pm_' || n, 'cus_' || n, 'card', 'visa', 'debit', 'DE', 2030, 1, 'fp_' || n, '{opened}'
    from generate_series({first}, {charged}) n;
insert into attempts (customer_id, case_id, at, source, outcome, amount, currency,
                      payment_method_id, card_brand, card_fingerprint, decline_code, charge_id)
  select 'cus_' || n, 'case_' || n, '{opened}', 'stripe', 'failed', 2000, 'eur', 'pm_' || n,
         'visa', 'fp_' || n, 'insufficient_funds', 'ch_' || n
    from generate_series({first}, {charged}) n;
insert into actions (case_id, kind, due_at, payment_method_id)
  select 'case_' || n, 'retry', '{due}'::timestamptz + (n % 1000) * interval '1 {unit}',
         'pm_' || n from generate_series({first}, {last}) n;
analyze cases; analyze actions; analyze attempts;
"""


def fill(dsn: str, policy: str, first: int, count: int, *, due: datetime, later: bool) -> None:
    """So many open cases with a charge planned."""
    now = datetime.now(UTC)
    statement = _FILL.format(
        policy=policy,
        first=first,
        last=first + count - 1,
        charged=first - 1 if later else first + count - 1,
        opened=(now - timedelta(days=5)).isoformat(),
        deadline=(now + timedelta(days=25)).isoformat(),
        due=due.isoformat(),
        unit="minute" if later else "millisecond",
    )
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement)


def charges(engine: bootstrap.Engine, expected: int) -> float:
    """Seconds until that many charges have been dispatched and settled."""
    begun = time.perf_counter()
    engine.worker.dispatch()
    while True:
        with engine.database.connection() as connection:
            left = connection.exec_driver_sql(
                # by the indexes: our own question must not cost more as the table grows
                "select (select count(*) from actions where state = 'claimed') + (select count(*)"
                " from actions where state = 'planned' and test_clock is null and due_at <= now())"
            ).scalar_one()
        if not left:
            break
        time.sleep(0.05)
    taken = time.perf_counter() - begun
    with engine.database.connection() as connection:
        closed = connection.exec_driver_sql(
            "select count(*) from cases where close_reason = 'recovered_by_engine'"
        ).scalar_one()
    assert closed >= expected, f"{closed} of {expected} were recovered"
    return taken


# -- the drain

_NOOP = """
from retry_engine import bootstrap, settings, telemetry
found = settings.from_process()
telemetry.configure("noop")
app = bootstrap.celery_application(found)
app.conf.task_routes = {}

@app.task(name="noop")
def noop(number):
    pass

app.Worker(pool="prefork", concurrency=found.worker_concurrency, queues=["noop"], quiet=True,
           without_gossip=True, without_mingle=True, without_heartbeat=True,
           loglevel="ERROR").start()
"""


def drain(app: Celery, redis_path: str, count: int) -> float:
    """Seconds until that many no-op tasks have been published and acknowledged."""
    client = redis.Redis(unix_socket_path=redis_path)
    begun = time.perf_counter()
    with app.producer_pool.acquire(block=True) as producer:
        for number in range(count):
            app.send_task("noop", args=[number], queue="noop", producer=producer, retry=False)
    while client.llen("noop") or client.hlen("unacked"):
        time.sleep(0.005)
    return time.perf_counter() - begun


# -- the floor


def _bare(port: int, dsn: str, numbers: range) -> None:
    gateway = StripeGateway(
        key="sk_test_000000000000",
        base=f"http://127.0.0.1:{port}",
        pace=lambda _: None,
        sleep=time.sleep,
    )
    leave = permit("takeover", "takeover")
    with psycopg.connect(dsn) as connection:
        for n in numbers:
            gateway.invoice("", f"in_{n}")
            gateway.payment_method("", f"pm_{n}")
            gateway.customer_charges("", f"cus_{n}", since=_START)
            connection.execute("insert into floor values (%s, 'unknown')", (n,))
            connection.commit()
            gateway.pay(
                "",
                f"in_{n}",
                permit=leave,
                method_id=f"pm_{n}",
                idempotency_key=f"floor:{n}",
                before_sending=lambda: None,
            )
            connection.execute("update floor set outcome = 'succeeded' where id = %s", (n,))
            connection.commit()


def floor(port: int, dsn: str, count: int) -> float:
    """Seconds for that many charges with nothing around them."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("drop table if exists floor")
        connection.execute("create table floor (id bigint primary key, outcome text)")
    pool = int(_POOL)
    parts = [range(n, count, pool) for n in range(pool)]
    begun = time.perf_counter()
    hands = [multiprocessing.Process(target=_bare, args=(port, dsn, part)) for part in parts]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    return time.perf_counter() - begun


def main() -> None:
    """Print the rates and their ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--planned", type=int, default=0)
    given = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    busy = multiprocessing.Value("d", 0.0)
    stub = multiprocessing.Process(target=serve_stub, args=(port, busy), daemon=True)
    stub.start()
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
            "STRIPE_API_BASE": f"http://127.0.0.1:{port}",
            "RETRY_ENGINE_WORKERS": _POOL,
            "RETRY_ENGINE_STRIPE_REQUESTS_PER_SECOND": "100000",
        }
        path = servers.redis_url.removeprefix("redis+socket://")
        with bootstrap.build(settings.load(environment)) as engine:
            engine.migrate()
            if given.planned:
                tomorrow = datetime.now(UTC) + timedelta(days=1)
                version = engine.settings.policy.version
                fill(servers.postgres_dsn, version, 10_000_000, given.planned,
                     due=tomorrow, later=True)  # fmt: skip
            _run(engine, environment, servers.postgres_dsn, path, given, busy, port)
    stub.terminate()


def _quietly(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _run(
    engine: bootstrap.Engine,
    environment: dict[str, str],
    dsn: str,
    path: str,
    given: argparse.Namespace,
    busy: Any,
    port: int,
) -> None:
    noops = bootstrap.celery_application(engine.settings)
    command = [sys.executable, "-m", "retry_engine.entrypoints.cli", "worker"]
    ratios, of_floor = [], []
    for number in range(given.rounds + 1):
        noop: Any = _quietly([sys.executable, "-c", _NOOP], environment)
        drain(noops, path, 50)  # until it is there
        bare = given.cases / drain(noops, path, given.cases)
        noop.terminate()
        noop.wait()
        worker: Any = _quietly(command, environment)
        first = 1 + number * given.cases * 2
        past = datetime.now(UTC) - timedelta(hours=1)
        fill(dsn, engine.settings.policy.version, first, 50, due=past, later=False)
        charges(engine, 50)  # until it is there
        fill(dsn, engine.settings.policy.version, first + 50, given.cases, due=past, later=False)
        stub_before = busy.value
        seconds = charges(engine, given.cases)
        in_stub = (busy.value - stub_before) / (os.cpu_count() or 1)
        worker.terminate()
        worker.wait()
        stub_before = busy.value
        seconds_bare = floor(port, dsn, given.cases)
        lowest = given.cases / (seconds_bare - (busy.value - stub_before) / (os.cpu_count() or 1))
        ours, net = given.cases / seconds, given.cases / (seconds - in_stub)
        if number:
            ratios.append(net / bare)
            of_floor.append(net / lowest)
            print(
                f"no-op drain {bare:5.0f} a second; charges {ours:4.0f} a second, "
                f"{net:4.0f} without the stub's own time; ratio {net / bare:.2f}; "
                f"floor {lowest:4.0f}, {lowest / bare:.2f} of the drain"
            )
    middle = len(ratios) // 2
    print(f"median ratio {sorted(ratios)[middle]:.2f}; of the floor {sorted(of_floor)[middle]:.2f}")


if __name__ == "__main__":
    main()
