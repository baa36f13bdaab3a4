"""Links that only we can have made: a subject, a purpose and an end, signed.

Guessing one is guessing 128 bits; a link for one purpose is none for another.
"""

import base64
import binascii
import hashlib
import hmac
from datetime import UTC, datetime

_SIGNATURE_BYTES = 16


def sign(key: bytes, purpose: str, subject: str, *, until: datetime) -> str:
    """A token for an address; letters, digits, `-` and `_` only."""
    body = f"{int(until.timestamp())}:{subject}".encode()
    return _text(body + _signature(key, purpose, body))


def read(key: bytes, purpose: str, token: str, *, now: datetime) -> str | None:
    """The subject; None where the token is not ours, is for something else, or has ended."""
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        return None
    if _text(raw) != token:  # base64 has several spellings of one text; ours is one
        return None
    body, signature = raw[:-_SIGNATURE_BYTES], raw[-_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _signature(key, purpose, body)):
        return None
    until, _, subject = body.decode().partition(":")
    if now > datetime.fromtimestamp(int(until), UTC):
        return None
    return subject


def hash_of(key: bytes, address: str) -> str:
    """What is kept of an e-mail address: enough to know it again, not to learn it."""
    folded = address.strip().casefold().encode()
    return hmac.new(key, b"address:" + folded, hashlib.sha256).hexdigest()


def _signature(key: bytes, purpose: str, body: bytes) -> bytes:
    message = purpose.encode() + b"\0" + body
    return hmac.new(key, message, hashlib.sha256).digest()[:_SIGNATURE_BYTES]


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
