"""What the API refuses, in Stripe's error shape."""

from retry_engine.sandbox.objects.base import Obj


class Refused(Exception):
    """An answer other than 200. `body` is what goes over the wire.

    `stored` says whether Stripe keeps the answer under the idempotency key: it does once
    execution began, it does not for validation failures and limits.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        stored: bool = False,
        **more: object,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.stored = stored
        error: Obj = {"type": kind, "message": message}
        if code:
            error["code"] = code
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"
        if param:
            error["param"] = param
        error.update({name: value for name, value in more.items() if value is not None})
        self.body: Obj = {"error": error}


def invalid(
    message: str, *, code: str | None = None, param: str | None = None, status: int = 400
) -> Refused:
    """A request that cannot be carried out as it is."""
    return Refused(status, "invalid_request_error", message, code=code, param=param)


def missing(kind: str, wanted: str, *, param: str = "id") -> Refused:
    """The named object is not there."""
    text = f"No such {kind.replace('_', ' ')}: '{wanted}'"
    return invalid(text, code="resource_missing", param=param, status=404)


def limited(code: str, message: str) -> Refused:
    """429: too fast, or somebody else holds the object."""
    return Refused(429, "invalid_request_error", message, code=code)
