"""How long `/api/customers/{CUSTOMER}/payment-options` and `/standing` take, over real HTTP.

    python benchmarks/payment_options.py --cases 10000

The real web process on real PostgreSQL with so many cases, methods, attempts and decisions; one
request at a time over one connection, in turn with `/healthz`, which does nothing.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psycopg

from retry_engine import bootstrap, settings
from retry_engine.adapters.embedded import EmbeddedServers

_FILL = """
insert into policies (version, content) values ('p', '{}') on conflict do nothing;
insert into cases (id, invoice_id, customer_id, state, mode, policy_version, amount_remaining,
                   currency, opened_at, deadline_at, customer_country)
select 'case_' || n, 'in_' || n, 'cus_' || n, 'open', 'takeover', 'p', 2900, 'eur',
       now() - n * interval '1 minute', now() + interval '30 days',
       (array['DE','US','FR','GB'])[1 + n % 4]
from generate_series(1, %(cases)s) n;
insert into payment_methods (id, customer_id, type)
select 'pm_' || n || k, 'cus_' || n, k
from generate_series(1, %(cases)s) n, unnest(array['card', 'sepa_debit']) k;
insert into attempts (case_id, account, customer_id, payment_method_id, method_type, at, source,
                      outcome, decline_code, amount, currency)
select 'case_' || n, '', 'cus_' || n, 'pm_' || n || k, k, now(), 'stripe',
       case when (n + length(k)) % 3 = 0 then 'succeeded' else 'failed' end, 'insufficient_funds',
       2900, 'eur'
from generate_series(1, %(cases)s) n, unnest(array['card', 'sepa_debit']) k;
insert into decisions (case_id, at, kind, expected_value, propensity, policy_version, model_version,
                       inputs, inputs_hash, candidates, reasons)
select 'case_' || n, now(), 'wait_for_customer', 0, 1, 'p', 'm', '{}', '',
       jsonb_build_array(jsonb_build_object('payment_method_id', 'pm_' || n || 'sepa_debit',
                         'success_probability', 0.4, 'forbidden_by', null)), '[]'
from generate_series(1, %(cases)s) n;
analyze;
"""

_TOKEN = {"Authorization": "Bearer the-token-of-a-benchmark"}


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main() -> None:
    """Times, and how they compare with a request that does nothing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, EmbeddedServers(Path(home)) as servers:
        env = {
            **os.environ,
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            "STRIPE_API_KEY": "sk_test_benchmark",
            "STRIPE_WEBHOOK_SECRET": "whsec_benchmark",
            "RETRY_ENGINE_API_TOKEN": "benchmark:viewer:the-token-of-a-benchmark",
            "RETRY_ENGINE_LOG_FORMAT": "json",
        }
        found = settings.load(env)
        with bootstrap.build(found) as engine:
            engine.migrate()
        plain = found.database_url.replace("postgresql+psycopg://", "postgresql://")
        with psycopg.connect(plain) as connection:
            for statement in _FILL.replace("%(cases)s", str(given.cases)).split(";\n"):
                if statement.strip():
                    connection.execute(statement)
        port = _port()
        command = [sys.executable, "-m", "retry_engine.entrypoints.cli", "web", "--port", str(port)]
        web = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
        try:
            _measure(port, given.cases, given.requests)
        finally:
            web.terminate()
            web.wait(20)


def _measure(port: int, cases: int, requests: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
        until = time.monotonic() + 30
        while True:
            try:
                http.get("/healthz").raise_for_status()
                break
            except httpx.HTTPError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
        took: dict[str, list[float]] = {"options": [], "standing": [], "nothing": []}
        for n in range(requests + 50):
            customer = f"/api/customers/cus_{1 + n * 7919 % cases}"
            options, standing = f"{customer}/payment-options", f"{customer}/standing"
            asked = (("options", options), ("standing", standing), ("nothing", "/healthz"))
            for name, path in asked:
                begun = time.perf_counter()
                http.get(path, headers=_TOKEN if "/api/" in path else {}).raise_for_status()
                if n >= 50:
                    took[name].append(1000 * (time.perf_counter() - begun))
    for name, times in took.items():
        p99 = statistics.quantiles(times, n=100)[98]
        print(f"{name:8}  p50 {statistics.median(times):.1f} ms  p99 {p99:.1f} ms")


if __name__ == "__main__":
    main()
