"""What happens by itself on a clock, in its order."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Due:
    """Something that happens by itself at `at`, unless `live` says that it no longer will."""

    at: int
    what: str
    act: Callable[[], object]
    live: Callable[[], bool]


@dataclass(slots=True)
class Agenda:
    """All that is due on one clock."""

    _heap: list[tuple[int, int, Due]] = field(default_factory=list)

    def plan(self, due: Due, *, number: int) -> None:
        """Put something on it; of what is due at one time the lowest number is first."""
        heapq.heappush(self._heap, (due.at, number, due))

    def next(self) -> Due | None:
        """The first that still happens."""
        while self._heap and not self._heap[0][2].live():
            heapq.heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def take(self, *, until: int) -> Due | None:
        """The first that still happens, off the agenda; None where nothing is due by then."""
        due = self.next()
        if due is None or due.at > until:
            return None
        heapq.heappop(self._heap)
        return due
