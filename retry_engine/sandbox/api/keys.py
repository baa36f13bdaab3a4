"""API keys: who is let in."""

import base64

from starlette.requests import Request

from retry_engine.sandbox.errors import Refused


def is_publishable(request: Request, given: str | None) -> bool:
    """Let the key in; whether it is one that stands in customers' pages."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        scheme, key = "Bearer", _user_of(key)
    if not key and given:
        scheme, key = "Bearer", given  # as Stripe.js sends it, in the body
    shown = f"{key[:8]}{'*' * 8}{key[-4:]}" if len(key) > 16 else "***"
    if key.startswith(("sk_test_expired", "rk_test_expired")):
        raise Refused(401, "invalid_request_error", f"Expired API Key provided: {shown}")
    if scheme.lower() == "bearer" and key.startswith(("sk_test_", "rk_test_")):
        return False
    if scheme.lower() == "bearer" and key.startswith("pk_test_"):
        return True
    if not key:
        raise Refused(401, "invalid_request_error", "You did not provide an API key.")
    raise Refused(401, "invalid_request_error", f"Invalid API Key provided: {shown}")


def _user_of(credentials: str) -> str:
    """The key of `curl -u sk_test_…:`, where it is the user's name."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except ValueError:
        return "***"
