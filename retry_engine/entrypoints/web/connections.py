"""Slow and silent callers: how long an unfinished request may take, and how many there may be.

uvicorn limits neither. Here each connection has a time limit for its headers and for its body, and
where there are too many unfinished ones, or their bodies together are too large, the one that has
been unfinished for longest goes: of the caller who has most, if that is many. A webhook of Stripe's
is unfinished for milliseconds and is never the oldest, so room for it is always made.
"""

import asyncio
import resource
from collections import OrderedDict
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Any, Protocol

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = structlog.get_logger()

# Descriptors for everything that is no connection: the database's, the broker's, files.
_RESERVED_DESCRIPTORS = 64
# Connections that the server accepts in one go, before it looks at any of them.
BACKLOG = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is borne. Seconds, connections, bytes."""

    header_seconds: float = 10.0
    body_seconds: float = 20.0
    header_bytes: int = 32 * 1024
    most_unfinished: int = 512
    most_unfinished_of_one: int = 64
    most_body_bytes: int = 16 * 1024 * 1024


def limits_of_this_process() -> Limits:
    """The usual ones, within what the process may open."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = descriptors - _RESERVED_DESCRIPTORS - 2 * BACKLOG
    return Limits(most_unfinished=max(16, min(512, room)))


class Unfinished(Protocol):
    """A connection whose request has not wholly arrived."""

    peer: str

    def break_off(self) -> None:
        """End it; nobody is answered."""


@dataclass(slots=True)
class Keeper:
    """Knows the unfinished ones, oldest first, and makes room."""

    limits: Limits = field(default_factory=limits_of_this_process)
    broken_off: dict[str, int] = field(default_factory=dict)
    _waiting: "OrderedDict[Unfinished, int]" = field(default_factory=OrderedDict)
    _by_peer: "dict[str, OrderedDict[Unfinished, None]]" = field(default_factory=dict)
    _bytes: int = 0

    @property
    def held(self) -> tuple[int, int, int]:
        """Requests that are unfinished, callers they are of, bytes of their bodies."""
        return len(self._waiting), len(self._by_peer), self._bytes

    def begins(self, connection: Unfinished) -> None:
        """It is unfinished from now on."""
        self._waiting[connection] = 0
        of_peer = self._by_peer.setdefault(connection.peer, OrderedDict())
        of_peer[connection] = None
        if len(of_peer) > self.limits.most_unfinished_of_one:
            self._break_off(next(iter(of_peer)), "too_many_of_one")
        elif len(self._waiting) > self.limits.most_unfinished:
            self._break_off(next(iter(self._waiting)), "too_many")

    def grows(self, connection: Unfinished, count: int) -> None:
        """So many more bytes of its body are held."""
        if connection not in self._waiting:
            return
        self._waiting[connection] += count
        self._bytes += count
        while self._bytes > self.limits.most_body_bytes:
            self._break_off(next(c for c, held in self._waiting.items() if held), "too_large")

    def ends(self, connection: Unfinished) -> None:
        """It has arrived, or is gone."""
        held = self._waiting.pop(connection, None)
        if held is None:
            return
        self._bytes -= held
        of_peer = self._by_peer[connection.peer]
        del of_peer[connection]
        if not of_peer:
            del self._by_peer[connection.peer]

    def too_slow(self, connection: Unfinished) -> None:
        """Its time is over."""
        self._break_off(connection, "too_slow")

    def _break_off(self, connection: Unfinished, why: str) -> None:
        self.ends(connection)
        self.broken_off[why] = self.broken_off.get(why, 0) + 1
        connection.break_off()


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP with an end to patience."""

    def __init__(self, *arguments: Any, keeper: Keeper, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.peer = "unknown"
        self._keeper = keeper
        self._deadline: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._in_headers = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.peer = peer_of(self.client[0] if self.client else "unknown")
        self._wait(self._keeper.limits.header_seconds)
        self._keeper.begins(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._in_headers and self._header_bytes > self._keeper.limits.header_bytes:
            self.break_off()

    def on_message_begin(self) -> None:
        if self._deadline is None:  # another request on the same connection
            self._wait(self._keeper.limits.header_seconds)
            self._keeper.begins(self)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._wait(self._keeper.limits.body_seconds)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if not self.cycle.response_complete:  # else it is thrown away as it comes
            self._keeper.grows(self, len(body))

    def on_message_complete(self) -> None:
        self._arrived()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # one that is kept for a next request takes as much room as one that has never asked
        if self._deadline is None and not self.pipeline and not self.transport.is_closing():
            self._wait(self._keeper.limits.header_seconds)
            self._keeper.begins(self)

    def break_off(self) -> None:
        self._arrived()
        if not self.transport.is_closing():
            self.transport.abort()

    def _wait(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._keeper.too_slow, self)

    def _arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._keeper.ends(self)
        self._header_bytes, self._in_headers = 0, True


def peer_of(host: str) -> str:
    """Whoever has one address of a network of IPv6 has all of them."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return host
