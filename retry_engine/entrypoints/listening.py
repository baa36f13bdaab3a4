"""Whether an address can be listened on, asked before anything is started there."""

import errno
import socket

from retry_engine.domain.errors import Refused

_WHY = {
    errno.EADDRINUSE: "something else listens there; choose another --port, or end that",
    errno.EACCES: "this user may not; choose a --port of 1024 or above",
    errno.EADDRNOTAVAIL: "this machine has no such address; check --host",
}


def must_be_free(host: str, port: int) -> None:
    """Nothing happens where it is.

    Raises:
        Refused: nobody could be served there.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as tried:
            # as the server does: what has just ended there is no obstacle
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
            # without listening two may bind, and only one be served
            tried.listen(1)
    except OSError as error:
        why = _WHY.get(error.errno or 0, error.strerror or "it cannot be listened on")
        raise Refused(f"cannot listen on {host or '*'} port {port}: {why}") from None
