"""The tests themselves: nothing of what they run in this process reaches another machine."""

import socket
from collections.abc import Callable

import httpx
import pytest

ELSEWHERE = "192.0.2.1"


def _by_socket() -> None:
    with socket.socket() as plain:
        plain.settimeout(0.1)
        plain.connect((ELSEWHERE, 80))


def _by_datagram() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as plain:
        plain.sendto(b"x", (ELSEWHERE, 53))


@pytest.mark.parametrize(
    "reach",
    [
        _by_socket,
        _by_datagram,
        lambda: socket.getaddrinfo("api.stripe.com", 443),
        lambda: httpx.get(f"http://{ELSEWHERE}/", timeout=0.1),
    ],
)
def test_no_test_reaches_another_machine(reach: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError, match="only this machine is open to it"):
        reach()


def test_this_machine_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    here, there = socket.socketpair()
    here.close()
    there.close()
