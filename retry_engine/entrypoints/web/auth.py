"""Who may do what: bearer tokens with a role; without any, only reading, and only from here."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.requests import Request

from retry_engine.settings import ApiToken

_WRITERS = ("operator", "admin")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as it is recorded beside what they do."""

    name: str
    role: str


class Denied(Exception):
    """`status` 401: unknown; 403: known, and not allowed to."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def authorise(request: Request, tokens: Sequence[ApiToken]) -> Caller:
    """The caller, if they may do what the request asks for.

    Raises:
        Denied: they may not.
    """
    reads = request.method in ("GET", "HEAD")
    if not tokens:
        if reads and _is_loopback(request):
            return Caller("loopback", "viewer")
        raise Denied(403, "RETRY_ENGINE_API_TOKEN is not set: only reading from this host")
    caller = _caller(request.headers.get("authorization", ""), tokens)
    if caller is None:
        raise Denied(401, "expected Authorization: Bearer with a known token")
    if not reads and caller.role not in _WRITERS:
        raise Denied(403, f"the role {caller.role} may only read")
    return caller


def _caller(header: str, tokens: Sequence[ApiToken]) -> Caller | None:
    scheme, _, given = header.partition(" ")
    if scheme.lower() != "bearer":
        return None
    found = None
    for token in tokens:  # all are compared, so that the time tells nothing
        if hmac.compare_digest(token.token.get_secret_value().encode(), given.strip().encode()):
            found = Caller(token.name, token.role)
    return found


def _is_loopback(request: Request) -> bool:
    """By the socket's peer; a proxy on this host speaks for others and is not one."""
    forwarded = ("x-forwarded-for", "forwarded", "x-real-ip")
    if request.client is None or any(name in request.headers for name in forwarded):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False
