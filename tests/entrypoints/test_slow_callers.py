"""Slow and silent callers keep nobody else out, and cost no memory."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import NOW, Web, signed, started

from retry_engine.entrypoints.web.connections import Keeper, Limits, peer_of

pytestmark = pytest.mark.integration

EVENT = {"id": "evt_1", "object": "event", "type": "x", "data": {"object": {}}}
HEAD = b"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\n"
QUICK = Limits(header_seconds=0.2, body_seconds=0.2)


@pytest.fixture
def quick(database_url: str, redis_url: str) -> Iterator[Web]:
    with started(database_url, redis_url) as engine, Web(engine, limits=QUICK) as running:
        yield running


def _says(web: Web, sent: bytes) -> tuple[socket.socket, bytes]:
    """A connection on which that was sent, and what came back until the other side ended it."""
    caller = socket.create_connection(("127.0.0.1", web.port), timeout=20)
    caller.sendall(sent)
    heard = b""
    try:
        while part := caller.recv(4096):
            heard += part
    except ConnectionResetError:
        pass
    return caller, heard


SLOW = {
    "silence": b"",
    "half a line": b"POST /web",
    "half of the headers": HEAD,
    "half of a header": HEAD + b"Stripe-Signature: t=",
    "no body": HEAD + signed(b"") + b"Content-Length: 100\r\n\r\n",
    "half of a body": HEAD + signed(b"") + b"Content-Length: 100\r\n\r\nhalf",
    "half of a chunk": HEAD + signed(b"") + b"Transfer-Encoding: chunked\r\n\r\n64\r\nhalf",
    "half of a body elsewhere": b"POST /u/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1",
    "half of the next request": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /hea",
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW.keys())
def test_what_never_arrives_is_ended(quick: Web, sent: bytes) -> None:
    caller, heard = _says(quick, sent)
    caller.close()
    assert (b"200 OK" in heard) == (b"healthz" in sent)
    assert quick.keeper.broken_off["too_slow"] == 1
    assert quick.post(EVENT).status_code == 200


def test_headers_without_end_are_cut_off(web: Web) -> None:
    caller, heard = _says(web, HEAD + b"X-Long: " + b"a" * 100_000)
    caller.close()
    assert heard == b"" or b" 4" in heard.split(b"\r\n")[0]


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Stripe-Signature: t=1,v1=aa\r\n",
        b"Stripe-Signature: v1=aa\r\n",
        b"Stripe-Signature: t=%d,v1=aa\r\n" % NOW,
    ],
    ids=["none", "old", "no time", "no digest"],
)
def test_what_cannot_be_stripes_is_refused_before_its_body_is_read(web: Web, header: bytes) -> None:
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as caller:
        caller.sendall(HEAD + header + b"Content-Length: 1000000\r\n\r\n")
        assert b" 400 " in caller.recv(4096)


def test_a_body_that_is_announced_as_too_large_is_refused_before_it_is_read(web: Web) -> None:
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as caller:
        caller.sendall(HEAD + signed(b"") + b"Content-Length: 99999999999999\r\n\r\n")
        assert b" 413 " in caller.recv(4096)


# -- who goes when there are too many


class Caller:
    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.is_gone = False

    def break_off(self) -> None:
        self.is_gone = True


def _come(keeper: Keeper, *peers: str) -> list[Caller]:
    callers = [Caller(peer) for peer in peers]
    for caller in callers:
        keeper.begins(caller)
    return callers


def test_of_many_from_one_place_its_oldest_goes() -> None:
    keeper = Keeper(Limits(most_unfinished_of_one=3))
    callers = _come(keeper, "b", "a", "a", "a", "b", "a")
    assert [c.is_gone for c in callers] == [False, True, False, False, False, False]


def test_of_many_from_everywhere_the_oldest_goes() -> None:
    keeper = Keeper(Limits(most_unfinished=3))
    callers = _come(keeper, "a", "b", "c", "d", "e")
    assert [c.is_gone for c in callers] == [True, True, False, False, False]


def test_of_large_bodies_the_oldest_goes_and_what_has_arrived_stays() -> None:
    keeper = Keeper(Limits(most_body_bytes=100))
    silent, old, new, done = _come(keeper, "a", "b", "c", "d")
    keeper.grows(done, 90)
    keeper.ends(done)
    keeper.grows(old, 60)
    keeper.grows(new, 60)
    assert [c.is_gone for c in (silent, old, new, done)] == [False, True, False, False]


def test_a_keeper_remembers_nobody_who_is_gone() -> None:
    keeper = Keeper(Limits(most_unfinished=5))
    callers = _come(keeper, *(f"peer{n}" for n in range(1000)))
    for caller in callers:
        keeper.grows(caller, 10)
        keeper.ends(caller)
        keeper.ends(caller)
    assert keeper.held == (0, 0, 0)


def test_a_network_of_ipv6_is_one_caller() -> None:
    assert peer_of("2001:db8::1") == peer_of("2001:db8::ffff:2") != peer_of("2001:db8:0:1::1")
    assert peer_of("192.0.2.1") != peer_of("192.0.2.2")


# -- the attacks, on a process of its own

_SERVE = """
import resource, sys
from retry_engine import settings
from retry_engine.entrypoints.web.app import serve
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
import os
serve(settings.load(os.environ), host="127.0.0.1", port=int(sys.argv[1]))
"""


@pytest.fixture
def process(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[tuple[int, Any]]:
    """(port, process) of a web process that may open 300 descriptors."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "STRIPE_WEBHOOK_SECRET": "whsec_new",
        "RETRY_ENGINE_HOME": str(tmp_path),
    }
    running = subprocess.Popen([sys.executable, "-c", _SERVE, str(port)], env=environment)
    for _ in range(600):
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz")
            break
        except httpx.TransportError:
            time.sleep(0.1)
    yield port, running
    running.terminate()
    running.wait(20)


def _now() -> float:
    return time.time()  # noqa: TID251  # another process compares it with its own


def _delivers(port: int, number: int) -> int:
    body = json.dumps({**EVENT, "id": f"evt_{number}"}).encode()
    name, _, value = signed(body, at=_now()).strip().partition(b": ")
    url = f"http://127.0.0.1:{port}/webhooks/stripe"
    return httpx.post(url, content=body, headers={name: value}, timeout=30).status_code


def _memory(running: Any) -> int:
    status = Path(f"/proc/{running.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found.group(1))


def test_webhooks_are_taken_beside_more_silent_callers_than_there_are_descriptors(
    process: tuple[int, Any],
) -> None:
    port, _ = process
    with ExitStack() as stack:
        for number in range(400):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            if number % 100 == 99:
                assert _delivers(port, number) == 200


def test_webhooks_are_taken_beside_callers_who_asked_once_and_stay(
    process: tuple[int, Any],
) -> None:
    port, _ = process
    with ExitStack() as stack:
        for _ in range(400):
            caller = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            caller.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert _delivers(port, 0) == 200


def test_unfinished_bodies_take_no_more_memory_the_more_there_are(
    process: tuple[int, Any],
) -> None:
    port, running = process
    assert _delivers(port, 0) == 200
    before = _memory(running)
    forged = signed(b"", at=_now())  # of the right form and time
    half = HEAD + forged + b"Content-Length: 1000000\r\n\r\n" + b"x" * 900_000
    with ExitStack() as stack:
        for _ in range(120):
            caller = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            try:
                caller.sendall(half)
            except (ConnectionResetError, BrokenPipeError):
                continue  # it was ended while it still talked
        assert _delivers(port, 1) == 200
        assert _memory(running) - before < 60_000, "kB, of 108,000 that were sent"
