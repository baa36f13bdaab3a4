"""The dispatcher: claims what is due, by each case's clock, and hands the ids on.

Any number of dispatchers may run, die, or run twice: the claim is a row with a lease. What the
broker loses is found again when the lease has run out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from retry_engine.recovery import cases
from retry_engine.recovery.gate import Gate
from retry_engine.store import inbox, schedule
from retry_engine.store.database import Database

# The longest time between a worker's death and its work being taken up by another.
LEASE = timedelta(seconds=30)

# More than the workers can do within a lease only makes them do it twice in vain.
MAX_IN_FLIGHT = 400


class Queue(Protocol):
    """Hands ids to the workers; it may fail freely, and lose all of them."""

    def publish_actions(self, ids: Sequence[int]) -> None: ...
    def publish_events(self, ids: Sequence[str]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatcher:
    """Claims, then publishes."""

    database: Database
    queue: Queue
    gate: Gate
    clock: Callable[[], datetime]

    def dispatch(self) -> int:
        """Claim what is due and publish it; how many actions that were."""
        now = self.clock()
        with self.database.transaction() as connection:
            claimed, paused = schedule.in_flight(connection)
            room = MAX_IN_FLIGHT - claimed
            ids = schedule.claim_due(
                connection,
                now=now,
                paused=paused,
                shut=self.gate.is_shut,
                lease=LEASE,
                limit=max(room, 20),
            )
        if ids:
            self.queue.publish_actions(ids)
        return len(ids)

    def sweep(self) -> int:
        """Publish the events that are stored and not handled: the broker may have lost them."""
        with self.database.transaction() as connection:
            ids = inbox.waiting(connection, now=self.clock(), limit=500)
        if ids:
            self.queue.publish_events(ids)
        return len(ids)

    def replay(self, event_id: str) -> None:
        """Give a dead event another life, or an account that is back its events and outcomes."""
        with self.database.transaction() as connection:
            settling = bool(event_id) and cases.find_out_after_all(
                connection, event_id, real_now=self.clock()
            )
            ids = inbox.replay(connection, event_id, now=self.clock(), or_none=bool(settling))
        self.queue.publish_events(ids)
