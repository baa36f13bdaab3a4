"""What the host application is told is delivered: at least once, in any order.

    kept with its case ── claimed ── posted ── 2xx: delivered
          ▲                             │
          └──── a growing gap ──────────┴── three days of it: given up, seen in `events dead`

The receiver is called by one worker at a time, with a few events at once and for seconds at most;
one that does not answer is left alone for a while. So nothing else waits for it. Whether money may
move, and in which mode the engine is, does not matter here: what has happened is told.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from retry_engine.domain import outbound
from retry_engine.domain.outbound import Answer
from retry_engine.store import outbox
from retry_engine.store.database import Database
from retry_engine.store.outbox import Outgoing

log = structlog.get_logger()

# Longer than any call; after a worker's death another takes up its events then.
LEASE = timedelta(seconds=30)
AT_ONCE = 8


class Receiver(Protocol):
    """The host application."""

    def tell(self, events: Sequence[Outgoing]) -> list[Answer]:
        """Their answers, in their order; no error is raised because of the other side."""


class Queue(Protocol):
    """Hands ids to the workers; it may fail freely, and lose all of them."""

    def publish_outbound(self, ids: Sequence[str]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """Claims, publishes, delivers. `receiver` is made when first needed: it takes a while."""

    database: Database
    receiver: Callable[[], Receiver]
    queue: Queue
    clock: Callable[[], datetime]

    def dispatch(self) -> int:
        """Claim what is due and publish it; how many events that were."""
        with self.database.transaction() as connection:
            ids = outbox.claim(connection, now=self.clock(), lease=LEASE, limit=AT_ONCE)
        if ids:
            self.queue.publish_outbound(ids)
        return len(ids)

    def deliver(self, ids: Sequence[str]) -> None:
        """Deliver claimed events, and hand on what is due then."""
        with self.database.transaction() as connection:
            events = outbox.take(connection, ids, now=self.clock(), lease=LEASE)
        if not events:
            return
        answers = self.receiver().tell(events)
        now = self.clock()
        with self.database.transaction() as connection:
            for event, answer in zip(events, answers, strict=True):
                if answer.error is None:
                    outbox.delivered(connection, event.id, now=now)
                    continue
                again = outbound.next_try(since=event.since, tries=event.tries, now=now)
                outbox.failed(connection, event.id, error=answer.error, next_try_at=again, now=now)
                log.warning(
                    "event_not_delivered", told=event.id, type=event.type, tries=event.tries,
                    error=answer.error, given_up=again is None,
                )  # fmt: skip
            opens_at = None
            if all(answer.is_silent for answer in answers):
                silences = outbox.silences(connection)
                opens_at = outbound.opens_at(silences=silences, now=now)
            error = next((a.error for a in answers if a.error is not None), None)
            outbox.leave(connection, error=error, opens_at=opens_at)
        self.dispatch()
