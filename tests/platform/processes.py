"""Looking at real processes from outside, with bounded patience."""

import threading
import time
from collections.abc import Callable, Iterable

import psutil
import redis


def eventually(holds: Callable[[], bool], *, within: float = 20.0) -> bool:
    """Whether that comes to hold; asks again and again until it does or patience ends."""
    pause = threading.Event()
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if holds():
            return True
        pause.wait(0.02)
    return holds()


def running(pids: Iterable[int]) -> list[int]:
    """Those that still run; a zombie that nobody has reaped does not."""
    return [pid for pid in pids if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def descendants(pid: int) -> list[int]:
    """All that it started, however deep."""
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def children(pid: int) -> set[int]:
    """Those that it started itself."""
    return {child.pid for child in psutil.Process(pid).children()}


def flush_redis(url: str) -> None:
    """Lose everything the broker holds."""
    if url.startswith("redis+socket://"):
        client = redis.Redis(unix_socket_path=url.removeprefix("redis+socket://"))
    else:
        client = redis.Redis.from_url(url)
    client.flushall()
    client.close()
