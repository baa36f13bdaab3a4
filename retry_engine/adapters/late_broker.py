"""The broker for processes that may never publish anything: Celery takes 0.3 s to load."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retry_engine.adapters.broker import Broker


class LateBroker:
    """As `broker.Broker`, which is made when it is first needed."""

    def __init__(self, redis_url: str, *, concurrency: int) -> None:
        self._redis_url = redis_url
        self._concurrency = concurrency
        self._made: Broker | None = None

    def publish_events(self, ids: Sequence[str]) -> None:
        """Ask a worker to process these inbox rows."""
        self._broker().publish_events(ids)

    def publish_actions(self, ids: Sequence[int]) -> None:
        """Ask workers to carry out these claimed actions."""
        self._broker().publish_actions(ids)

    def publish_outbound(self, ids: Sequence[str]) -> None:
        """Ask a worker to deliver these claimed outbox rows."""
        self._broker().publish_outbound(ids)

    def is_reachable(self) -> bool:
        """Whether the broker answers within two seconds."""
        return self._broker().is_reachable()

    def close(self) -> None:
        """Let go of the connections, where there are any."""
        if self._made is not None:
            self._made.close()
            self._made = None

    def _broker(self) -> "Broker":
        if self._made is None:
            from retry_engine.adapters import broker  # noqa: PLC0415  # 0.3 s

            self._made = broker.Broker(
                broker.application(self._redis_url, concurrency=self._concurrency, in_web=True)
            )
        return self._made
