"""Something is given at Stripe exactly once: the intent first, then Stripe, then what came of it.

    intent committed ── does Stripe have it? ── made, under its key ── settled
          │                     │                     │
          died: its action      yes: settled          no answer: the intent stands, and
          goes on                                     its action goes on

An intent is a row that is committed together with the action that goes on where a process died,
before the call or after it. Nothing is made that Stripe has already, nor anything whose key it may
have forgotten: that never reached it.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from retry_engine.domain.actions import ActionKind
from retry_engine.domain.case_states import CaseState
from retry_engine.domain.errors import StripeRejected, StripeUnavailable
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.gate import Gate, Permit
from retry_engine.recovery.gateway import KEY_LIFETIME
from retry_engine.store import cases as rows
from retry_engine.store import engine_state, schedule
from retry_engine.store.cases import Case
from retry_engine.store.database import Database
from retry_engine.store.schedule import Action

TAKEABLE = (CaseState.OPEN, CaseState.NEEDS_CUSTOMER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Stripe has it, under that id."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotMade:
    """Stripe has not got it and will not get it."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A committed intent and how it is carried out. `sent_at` is real time.

    `find` answers the id of what Stripe has of it; `make` makes it, always under the same key, and
    answers its id; `settle` writes down what came of it, in a transaction.
    """

    sent_at: datetime | None
    find: Callable[[Case], str | None]
    make: Callable[[Case, Permit], str]
    settle: Callable[[CaseContext, Case, Made | NotMade], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saga:
    """Carries steps out, on a connection that holds their case's lock; `kind` goes on with them."""

    kind: ActionKind
    database: Database
    gate: Gate
    clock: Callable[[], datetime]

    def take(
        self,
        connection: Connection,
        case_id: str,
        intend: Callable[[CaseContext, Case, bool], Step | None],
    ) -> None:
        """A customer wants it: commit the intent and carry it out.

        `intend` writes the intent in the transaction it is called in, and is told whether the
        engine is paused; None is its answer where nothing is left to do. Without an answer from
        Stripe the intent stands, and the action finds out.
        """
        self.database.money_may_move(connection)
        with connection.begin():
            case, paused = rows.get_with_switch(connection, case_id)
            context = self.context(connection, case)
            step = intend(context, case, paused)
            if step is not None:
                # whoever comes after a crash goes on from there
                schedule.plan(connection, case, self.kind, at=context.now)
        if step is not None and not paused:
            with suppress(StripeUnavailable):
                self.carry_out(connection, case_id, step)

    def go_on(
        self,
        connection: Connection,
        action: Action,
        under_way: Callable[[Connection, Case], Sequence[Step]],
    ) -> bool:
        """Carry out what is still under way; False: the engine is paused, and the action waits.

        Raises:
            StripeUnavailable, StripeForbidden: not known or not possible now; it is to be held.
        """
        self.database.money_may_move(connection)
        with connection.begin():
            if engine_state.read(connection).paused:
                schedule.put_back(connection, action)
                return False
            steps = under_way(connection, rows.get(connection, action.case_id))
        for step in steps:
            self.carry_out(connection, action.case_id, step)
        return True

    def carry_out(self, connection: Connection, case_id: str, step: Step) -> None:
        """Find it or make it, and settle."""
        with connection.begin():
            case = rows.get(connection, case_id)
        outcome = self._outcome_of(case, step)
        with connection.begin():
            case = rows.get(connection, case_id)
            context = self.context(connection, case)
            step.settle(context, case, outcome)
            schedule.cancel(connection, case_id, kind=self.kind, result="done")
            if case.is_living:
                schedule.plan(connection, case, ActionKind.REFRESH, at=context.now)

    def _outcome_of(self, case: Case, step: Step) -> Made | NotMade:
        found = step.find(case)
        if found is not None:
            return Made(id=found)
        if step.sent_at is None or self.clock() - step.sent_at > KEY_LIFETIME:
            return NotMade(why="it never reached Stripe")
        try:
            return Made(id=step.make(case, self.gate.permit(case.mode)))
        except StripeRejected as error:
            return NotMade(why=(str(error) or "refused")[:500])

    def context(self, connection: Connection, case: Case) -> CaseContext:
        """What a step of the case's work is given, in the transaction that is open."""
        real_now = self.clock()
        now = rows.time_of(connection, case, real_now)
        return CaseContext(connection=connection, now=now, real_now=real_now)
