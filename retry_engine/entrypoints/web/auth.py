"""Who may do what: bearer tokens with a role; without any the doors are closed.

| role | may |
|---|---|
| viewer | read |
| operator | work on cases and reviews, silence addresses, stop and start the engine |
| admin | also what outlives a case or goes against a customer's word: `ADMINS_ONLY` |
"""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog
from starlette.requests import Request

from retry_engine.domain.errors import RetryEngineError
from retry_engine.entrypoints.web.connections import peer_of
from retry_engine.settings import ApiToken, is_loopback

log = structlog.get_logger()

_WRITERS = ("operator", "admin")
ADMINS_ONLY = {
    "migrate_policy": "other rules for a case that is under way",
    "against_their_wish": "writing again to who asked not to be written to",
}

_MOST_PEERS = 1024
_MOST_HELD = 64
_FREE_MISTAKES = 3
_LONGEST_WAIT = 5.0
_FORGOTTEN_AFTER = 900.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as it is recorded beside what they do."""

    name: str
    role: str

    def must_be_admin(self, act: str) -> None:
        """Raises Denied unless they are; `act` is one of `ADMINS_ONLY`."""
        if self.role != "admin":
            raise Denied(403, f"{ADMINS_ONLY[act]} ({act}) is for the role admin, not {self.role}")


class Denied(RetryEngineError):
    """`status` 401: unknown; 403: known, and not allowed to; 429: too many wrong tokens."""

    def __init__(self, status: int, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.headers: dict[str, str] = {}
        if status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)


@dataclass(slots=True)
class Mistakes:
    """Wrong tokens by peer, the latest peers only: how long the next refusal of one takes."""

    clock: Callable[[], float]
    _by_peer: "OrderedDict[str, tuple[int, float]]" = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._by_peer)

    def note(self, peer: str) -> float:
        """One more of that peer; seconds to keep it waiting."""
        count, at = self._by_peer.pop(peer, (0, 0.0))
        now = self.clock()
        count = count + 1 if now - at < _FORGOTTEN_AFTER else 1
        self._by_peer[peer] = (count, now)
        if len(self._by_peer) > _MOST_PEERS:
            self._by_peer.popitem(last=False)
        if count <= _FREE_MISTAKES:
            return 0.0
        return float(min(0.25 * 2 ** min(count - _FREE_MISTAKES, 10), _LONGEST_WAIT))


class Guard:
    """Stands at every door but the webhooks' and the customers'.

    Only who gives a wrong token is kept waiting: a good one from the same address passes.
    """

    def __init__(
        self,
        *,
        tokens: Sequence[ApiToken],
        metrics_token: ApiToken | None,
        open_to_loopback: bool,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tokens = tokens
        self._metrics = [metrics_token] if metrics_token is not None else []
        self._open = open_to_loopback
        self._mistakes = Mistakes(clock)
        self._sleep = sleep
        self._held = 0
        self.refused: dict[str, int] = {}

    async def api(self, request: Request) -> Caller:
        """The caller of `/api`, if they may do what the request asks for.

        Raises:
            Denied: they may not.
        """
        reads = request.method in ("GET", "HEAD")
        caller = await self._known(
            request, self._tokens, "api", "RETRY_ENGINE_API_TOKEN", reads=reads
        )
        if not reads and caller.role not in _WRITERS:
            raise Denied(403, f"the role {caller.role} may only read")
        return caller

    async def metrics(self, request: Request) -> Caller:
        """Who reads the figures.

        Raises:
            Denied: they may not.
        """
        return await self._known(
            request, self._metrics, "metrics", "RETRY_ENGINE_METRICS_TOKEN", reads=True
        )

    async def _known(
        self, request: Request, tokens: Sequence[ApiToken], door: str, setting: str, *, reads: bool
    ) -> Caller:
        if not tokens:
            if reads and self._open and _comes_from_here(request):
                return Caller("loopback", "viewer")
            raise Denied(403, f"{setting} is not set: this is closed")
        header = request.headers.get("authorization", "")
        caller = _caller(header, tokens)
        if caller is None:
            await self._refuse(request, door, was_given=bool(header))
            raise Denied(401, "expected Authorization: Bearer with a known token")
        return caller

    async def _refuse(self, request: Request, door: str, *, was_given: bool) -> None:
        if not was_given:  # a person who looks, not one who guesses
            return
        self.refused[door] = self.refused.get(door, 0) + 1
        peer = peer_of(request.client.host if request.client else "unknown")
        wait = self._mistakes.note(peer)
        log.warning("wrong_credentials", door=door, peer=peer, held_seconds=wait)
        if wait == 0:
            return
        if self._held >= _MOST_HELD:
            raise Denied(429, "too many wrong tokens", retry_after=int(wait) + 1)
        self._held += 1
        try:
            await self._sleep(wait)
        finally:
            self._held -= 1


def _caller(header: str, tokens: Sequence[ApiToken]) -> Caller | None:
    scheme, _, given = header.partition(" ")
    if scheme.lower() != "bearer":
        return None
    found = None
    for token in tokens:  # all are compared, so that the time tells nothing
        if hmac.compare_digest(token.token.get_secret_value().encode(), given.strip().encode()):
            found = Caller(token.name, token.role)
    return found


_FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip", "via")


def _comes_from_here(request: Request) -> bool:
    """By the socket's peer and the name it was called by; not what a proxy says it passes on."""
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    return is_loopback(request.client.host) and is_loopback(request.url.hostname or "")
