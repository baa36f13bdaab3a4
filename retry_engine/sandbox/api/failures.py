"""How calls to the API fail: locks that are held, and what goes wrong on demand."""

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from retry_engine.sandbox.errors import Refused, limited
from retry_engine.sandbox.transport.faults import Fault


class ConnectionBroken(Response):
    """An answer that never arrives: the connection breaks off behind its head."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head alone."""
        head = [(b"content-type", b"application/json"), (b"content-length", b"4096")]
        await send({"type": "http.response.start", "status": 200, "headers": head})


def lock_timeout() -> Refused:
    """Somebody else has the object in hand."""
    return limited(
        "lock_timeout",
        "This object cannot be accessed right now because another API request or Stripe process "
        "is currently accessing it.",
    )


def broke_down() -> Refused:
    """Stripe's own failure: nobody can tell whether the call was carried out."""
    return Refused(500, "api_error", "An unknown error occurred")


def refuse_before(striking: dict[str, Fault]) -> None:
    """What keeps a call from being carried out at all; nothing of it is stored."""
    if "rate_limit" in striking:
        raise limited("rate_limit", "Too many requests hit the API too quickly.")
    if "lock_timeout" in striking:
        raise lock_timeout()
    if "conflict" in striking:
        raise Refused(
            409,
            "idempotency_error",
            "There is currently another in-progress request using this Stripe Idempotent Key.",
            code="idempotency_key_in_use",
        )
    if "error_before" in striking:
        raise broke_down()
