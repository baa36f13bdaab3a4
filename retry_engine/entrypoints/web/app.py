"""The web application, put together, and how it is served."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from retry_engine import telemetry
from retry_engine.bootstrap import Engine, build_light
from retry_engine.domain.errors import RetryEngineError
from retry_engine.entrypoints.web import api, customer_pages, metrics, problems
from retry_engine.entrypoints.web.auth import Guard
from retry_engine.entrypoints.web.connections import BACKLOG, Keeper, PatientProtocol
from retry_engine.entrypoints.web.webhook_door import (
    Inbox,
    Signatures,
    WebhookDoor,
)
from retry_engine.settings import Settings, is_loopback

_WEBHOOK_PATH = "/webhooks/stripe"


def create_app(
    engine: Engine, *, clock: Callable[[], float], host: str = "", keeper: Keeper | None = None
) -> ASGIApp:
    """The ASGI application, served at `host`.

    `clock` gives epoch seconds, for the signatures' age.
    """
    settings = engine.settings
    guard = Guard(
        tokens=settings.api_tokens,
        metrics_token=settings.metrics_token,
        open_to_loopback=settings.api_open == "loopback" and is_loopback(host),
        clock=time.monotonic,
    )
    inbox = Inbox(engine.database.url, engine.broker.publish_events)
    secrets = [secret.get_secret_value() for secret in settings.stripe_webhook_secrets]
    door = WebhookDoor(Signatures(secrets), inbox, clock)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await inbox.start()
        yield
        await inbox.stop()

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        parts = await run_in_threadpool(engine.health.readiness)
        parts["writer"] = inbox.state()
        ready = all(part == "ok" for part in parts.values())
        return JSONResponse({"ready": ready, **parts}, status_code=200 if ready else 503)

    broken_off = keeper.broken_off if keeper is not None else {}
    figures = metrics.Figures(engine, clock=time.monotonic)

    async def show_metrics(request: Request) -> Response:
        try:
            await guard.metrics(request)
            page = await run_in_threadpool(figures.page, door.answers, guard.refused, broken_off)
        except RetryEngineError as error:
            return problems.of_error(error)
        return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")

    app = Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", show_metrics),
            *api.routes(engine, guard),
            *customer_pages.routes(engine),
        ],
        lifespan=lifespan,
        exception_handlers={
            HTTPException: _http_problem,
            RetryEngineError: _problem_of_ours,
            Exception: _crash,
        },
    )

    async def entrance(scope: Scope, receive: Receive, send: Send) -> None:
        # the one path that has to be fast passes by the routing
        if scope["type"] == "http" and scope["path"] == _WEBHOOK_PATH:
            await door(scope, receive, send)
        elif scope["type"] == "http" and _holds_nul(scope):
            await problems.send_problem(send, 400, "Bad Request", "the address holds NUL")
        else:
            await app(scope, receive, send)

    return entrance


def _holds_nul(scope: Scope) -> bool:
    """What no column of PostgreSQL can be compared with."""
    return "\x00" in scope["path"] or b"%00" in scope.get("query_string", b"")


async def _http_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problems.response(error.status_code, str(error.detail))


async def _problem_of_ours(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RetryEngineError)
    return problems.of_error(error)


async def _crash(_request: Request, _error: Exception) -> Response:
    # the server logs it; the caller learns nothing of our insides
    return problems.response(500, "an error on our side; it has been logged")


def server_config(application: ASGIApp, keeper: Keeper, *, host: str, port: int) -> uvicorn.Config:
    """How it is served, here and in the tests."""
    return uvicorn.Config(
        application,
        host=host,
        port=port,
        http=partial(PatientProtocol, keeper=keeper),  # type: ignore[arg-type]  # any factory does
        ws="none",
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,  # a caller's word for who they are is nobody's
        lifespan="on",
        timeout_graceful_shutdown=10,
    )


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Serve until told to stop; requests in hand are finished."""
    telemetry.configure("web", log_format=settings.log_format)
    keeper = Keeper()
    with build_light(settings) as engine:
        application = create_app(
            engine,
            clock=time.time,  # noqa: TID251  # handed in, as everywhere
            host=host,
            keeper=keeper,
        )
        uvicorn.Server(server_config(application, keeper, host=host, port=port)).run()
