"""The dispatcher: claims what is due, by each case's clock, and hands the ids on.

Any number of dispatchers may run, die, or run twice: the claim is a row with a lease. What the
broker loses is found again when the lease has run out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from retry_engine.recovery.gate import Gate
from retry_engine.store import inbox, schedule
from retry_engine.store.database import Database

# The longest time between a worker's death and its work being taken up by another.
LEASE = timedelta(seconds=30)

# More than the workers can do within a lease only makes them do it twice in vain.
MAX_IN_FLIGHT = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatcher:
    """`publish_*` hand ids to the workers and may fail freely."""

    database: Database
    publish_actions: Callable[[Sequence[int]], None]
    publish_events: Callable[[Sequence[str]], None]
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
            self.publish_actions(ids)
        return len(ids)

    def sweep(self) -> int:
        """Publish the events that are stored and not handled: the broker may have lost them."""
        with self.database.transaction() as connection:
            ids = inbox.waiting(connection, now=self.clock(), limit=500)
        if ids:
            self.publish_events(ids)
        return len(ids)
