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

    heap: list[tuple[int, int, Due]] = field(default_factory=list)

    def next(self) -> Due | None:
        """The first that still happens."""
        while self.heap and not self.heap[0][2].live():
            heapq.heappop(self.heap)
        return self.heap[0][2] if self.heap else None
