"""Stripe's limits, kept by all workers together."""

import threading
from collections import deque
from collections.abc import Callable

# Places are used within this many seconds of being due, or left: late calls must not bunch.
_LATE_SECONDS = 0.05

_MOST_AT_ONCE = 16


class Pace:
    """Waits for a place in an endpoint's queue, which all workers share.

    `reserve(endpoint, count)` takes the next `count` places, each `1 / per_second` after the one
    before, and says in how many seconds the first is due. Who has just made many calls takes as
    many places at once; who calls rarely takes one, so that none goes to waste.

    Example:
        pace = Pace(reserve=reserve, per_second=80, clock=time.monotonic, sleep=time.sleep)
        pace("invoices.pay")  # returns when the call may be made
    """

    def __init__(
        self,
        *,
        reserve: Callable[[str, int], float],
        per_second: float,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._reserve = reserve
        self._gap = 1.0 / per_second
        self._clock = clock
        self._sleep = sleep
        self._guard = threading.Lock()
        self._places: dict[str, deque[float]] = {}
        self._calls: dict[str, deque[float]] = {}

    def __call__(self, endpoint: str) -> None:
        """Return when the next call of that endpoint may be made."""
        with self._guard:
            due = self._next_place(endpoint)
        wait = due - self._clock()
        if wait > 0:
            self._sleep(wait)

    def _next_place(self, endpoint: str) -> float:
        now = self._clock()
        places = self._places.setdefault(endpoint, deque())
        calls = self._calls.setdefault(endpoint, deque(maxlen=_MOST_AT_ONCE - 1))
        _drop_before(places, now - _LATE_SECONDS)
        _drop_before(calls, now - _LATE_SECONDS)
        if not places:
            count = 1 + len(calls)
            first = self._reserve(endpoint, count)
            now = self._clock()
            places.extend(now + max(0.0, first + n * self._gap) for n in range(count))
        calls.append(now)
        return places.popleft()


def _drop_before(times: deque[float], limit: float) -> None:
    while times and times[0] < limit:
        times.popleft()
