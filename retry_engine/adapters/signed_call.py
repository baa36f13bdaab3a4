"""How a call to the operator's own addresses is signed: as Stripe signs its webhooks."""

import hashlib
import hmac

HEADER = "Retry-Engine-Signature"


def headers(secret: str, at: int, body: bytes, **more: str) -> dict[str, str]:
    """Those of a signed call with a JSON body; `at` is real time, in seconds."""
    signed = f"t={at},v1={signature(secret, at, body)}"
    return {"Content-Type": "application/json", HEADER: signed, **more}


def signature(secret: str, at: int, body: bytes) -> str:
    """What the receiver compares with."""
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
