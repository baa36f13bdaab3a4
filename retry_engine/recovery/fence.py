"""The last word before a request that charges: why a pause that has answered is never crossed.

A charge goes through four moments, each committed before the next:

    intent ── may it be sent? ── request ── outcome
                    │
                    no: nothing was sent under this intent, it is abandoned

The question (`may_send`, a function of the database) is asked before *every* request, repeats
included, on the connection that holds the case's session lock. In one transaction it locks and
reads the case's state and the engine's switch, and marks the intent as on its way for
`ON_ITS_WAY`, by the database's clock. Whoever pulls a brake commits first (the switch, or the
case's new state), then waits until no open intent is marked. That leaves no gap:

- Brake and question lock the same row, so one of them is first. Brake first: the answer is no.
  Question first: its mark was committed before the brake, and the brake waits for the mark.
- A worker whose connection was lost cannot ask (the connection is gone, and with it the lock), so
  it sends nothing more. What it began before is marked.
- A mark ends with the outcome, written by the worker or by whoever settles the intent after it, or
  by its time: no request of ours outlives `ON_ITS_WAY` at Stripe. Then the outcome may be unknown
  still, but nothing of it can happen any more.

What is taken for granted: a process does not stand still for minutes between the answer and the
first byte of its request, and Stripe does not begin a request minutes after it was sent.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection

from retry_engine.domain.errors import SendingForbidden
from retry_engine.store import intents
from retry_engine.store.database import alone

# A request that found no answer is not begun once more after this; its intent is settled instead.
_REPEATS_WITHIN = timedelta(seconds=60)


@dataclass(slots=True, kw_only=True)
class Fence:
    """Called before each request of one intent. `has_sent`: one was begun, its outcome counts."""

    connection: Connection
    attempt_id: int
    clock: Callable[[], datetime]
    has_sent: bool = False
    _until: datetime = field(init=False)

    def __post_init__(self) -> None:
        self._until = self.clock() + _REPEATS_WITHIN

    def __call__(self) -> None:
        """Let the next request through.

        Raises:
            SendingForbidden: the brake was pulled, or the outcome is known, or it took too long.
            StoreUnavailable: the connection is lost, and with it the lock.
        """
        now = self.clock()
        if self.has_sent and now > self._until:
            raise SendingForbidden("no answer in a minute: the outcome is found out instead")
        with alone(self.connection):
            refusal = intents.may_send(self.connection, self.attempt_id, at=now)
        if refusal is not None:
            raise SendingForbidden(refusal)
        self.has_sent = True
