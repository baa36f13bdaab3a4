"""Events."""

from retry_engine.sandbox.objects.base import Obj


def event(
    *, id: str, kind: str, created: int, api_version: str, snapshot: Obj, previous: Obj | None,
    request: str | None, idempotency_key: str | None,
) -> Obj:  # fmt: skip
    """What happened, with the object as it was then."""
    data: Obj = {"object": snapshot}
    if previous:
        data["previous_attributes"] = previous
    return {
        "id": id,
        "object": "event",
        "api_version": api_version,
        "created": created,
        "data": data,
        "livemode": False,
        "pending_webhooks": 0,
        "request": {"id": request, "idempotency_key": idempotency_key},
        "type": kind,
    }
