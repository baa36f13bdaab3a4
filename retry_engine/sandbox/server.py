"""The sandbox as a program of its own."""

import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType

import uvicorn

from retry_engine.sandbox.accounts import webhook_endpoints
from retry_engine.sandbox.app import create_app
from retry_engine.sandbox.runtime import Sandbox


def _wall_clock() -> datetime:
    # The sandbox is a program of its own and imports nothing of the engine's: its clock is read
    # here and handed on as an argument everywhere.
    return datetime.now(UTC)  # noqa: TID251


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 12111,
    seed: int = 1,
    webhook_url: str | None = None,
    webhook_secret: str | None = None,
    smtp_port: int | None = None,
    retry_days: tuple[float, ...] = (3, 5, 7),
    now: Callable[[], datetime] = _wall_clock,
) -> None:
    """Serve until SIGTERM or SIGINT. Says on stderr how an engine is connected to it."""
    sandbox = Sandbox(
        now=now,
        seed=seed,
        retry_days=retry_days,
        smtp_host=host,
        smtp_port=smtp_port,
        public_url=f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}",  # noqa: S104
    )
    secret = webhook_secret or f"whsec_sandbox{seed:019d}"
    if webhook_url:
        wanted = {"url": webhook_url, "enabled_events": ["*"]}
        for connect in (False, True):
            webhook_endpoints.create(
                sandbox.platform, {**wanted, "connect": connect}, secret=secret
            )
    sys.stderr.write(how_to_connect(host, port, webhook_url=webhook_url, secret=secret))
    if smtp_port is not None:
        sys.stderr.write(f"  SMTP_URL=smtp://{host}:{smtp_port}\n")
    sys.stderr.flush()
    # uvicorn hands the signal on once it has shut down; without this it would count as a crash
    signal.signal(signal.SIGTERM, _leave)
    uvicorn.run(
        create_app(sandbox),
        host=host,
        port=port,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=2,
    )


def _leave(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def how_to_connect(host: str, port: int, *, webhook_url: str | None, secret: str) -> str:
    """The settings of an engine that is to talk to this sandbox."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 -- only compared
    lines = [
        f"Sandbox Stripe on http://{shown}:{port}. Connect an engine to it with:",
        "  STRIPE_API_KEY=sk_test_sandbox",
        f"  STRIPE_API_BASE=http://{shown}:{port}",
    ]
    if webhook_url:
        lines.append(f"  STRIPE_WEBHOOK_SECRET={secret}")
        lines.append(f"Events go to {webhook_url}.")
    else:
        lines.append("No --webhook-url is given: create a webhook endpoint to get events.")
    return "\n".join(lines) + "\n"
