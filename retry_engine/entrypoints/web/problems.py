"""Errors as `application/problem+json` (RFC 9457)."""

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import structlog
from starlette.responses import Response

from retry_engine.domain.errors import (
    BadRequest,
    NotFound,
    Refused,
    RetryEngineError,
    StoreUnavailable,
    StripeUnavailable,
)
from retry_engine.entrypoints.web.auth import Denied

log = structlog.get_logger()

_STATUS: tuple[tuple[type[RetryEngineError], int], ...] = (
    (NotFound, 404),
    (Refused, 409),
    (BadRequest, 422),
    (StoreUnavailable, 503),
    (StripeUnavailable, 503),
)


def document(status: int, title: str, detail: str) -> dict[str, Any]:
    """The problem as a document."""
    return {"type": "about:blank", "title": title, "status": status, "detail": detail}


def response(status: int, detail: str, *, headers: dict[str, str] | None = None) -> Response:
    """The problem as a response."""
    return Response(
        json.dumps(document(status, HTTPStatus(status).phrase, detail)),
        status_code=status,
        media_type="application/problem+json",
        headers=headers,
    )


def of_error(error: RetryEngineError) -> Response:
    """An error of ours as a response; its text is written to be read."""
    if isinstance(error, Denied):
        return response(error.status, str(error), headers=error.headers)
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    if status >= 500:
        log.warning("refused", status=status, error=str(error), detail=getattr(error, "detail", ""))
    return response(status, str(error))


async def send_problem(
    send: Callable[[dict[str, Any]], Awaitable[None]], status: int, title: str, detail: str
) -> None:
    """The same from a bare ASGI endpoint."""
    body = json.dumps(document(status, title, detail)).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
