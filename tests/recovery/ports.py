"""Ports of the engine in whose place a test may answer: the real one, except for what is said."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Intercepted:
    """Passes everything on to `real`; a call named in `instead` is answered by the test."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self._instead: dict[str, Callable[..., Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return self._instead.get(name) or getattr(self.real, name)

    @contextmanager
    def instead(self, **calls: Callable[..., Any]) -> Iterator[None]:
        """Within the block these answer; outside it the real port does."""
        before = dict(self._instead)
        self._instead.update(calls)
        try:
            yield
        finally:
            self._instead = before

    def from_now_on(self, **calls: Callable[..., Any]) -> None:
        """These answer, until the end of the test."""
        self._instead.update(calls)


def port(given: object) -> Intercepted:
    """That port of an engine which the tests have built: one that can be intercepted."""
    assert isinstance(given, Intercepted)
    return given
