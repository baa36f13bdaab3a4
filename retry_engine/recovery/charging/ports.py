"""What every step of charging is given, and the few things that all of them do."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Connection

from retry_engine.domain.actions import ActionKind, ActionState
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.gate import Gate
from retry_engine.recovery.gateway import Gateway
from retry_engine.recovery.planning import Planner
from retry_engine.store import cases as rows
from retry_engine.store import engine_state, schedule
from retry_engine.store.cases import Case
from retry_engine.store.database import Database
from retry_engine.store.schedule import Action

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargingPorts:
    """The outside world of charging; a step works on a connection that holds the case's lock."""

    database: Database
    gateway: Gateway
    planner: Planner
    gate: Gate
    clock: Callable[[], datetime]

    def case(self, connection: Connection, case_id: str) -> Case:
        """The case as it stands, in a transaction of its own where none is open."""
        with connection.begin() if not connection.in_transaction() else nullcontext():
            return rows.find(connection, case_id)

    def now(self, connection: Connection, case: Case) -> datetime:
        """The case's own time."""
        with connection.begin() if not connection.in_transaction() else nullcontext():
            return rows.time_of(connection, case, self.clock())

    @staticmethod
    def is_paused(connection: Connection) -> bool:
        """Whether the engine's switch is off."""
        with connection.begin():
            return engine_state.read(connection).paused

    def context(self, connection: Connection, case: Case) -> CaseContext:
        """What a step of the case's work is given, in the transaction that is open."""
        real_now = self.clock()
        now = rows.time_of(connection, case, real_now)
        return CaseContext(connection=connection, now=now, real_now=real_now)

    def finish(
        self,
        connection: Connection,
        action: Action,
        result: str,
        *,
        state: ActionState = ActionState.DONE,
    ) -> None:
        """The action is over, with that result."""
        with connection.begin():
            schedule.finish(connection, action.id, result=result, state=state)

    def look_again(self, connection: Connection, action: Action, because: str) -> None:
        """The plan is stale: give it up and look at everything anew, at once."""
        log.info("plan_is_stale", because=because)
        with connection.begin():
            case = rows.get(connection, action.case_id)
            schedule.finish(connection, action.id, result=because, state=ActionState.CANCELLED)
            now = rows.time_of(connection, case, self.clock())
            schedule.plan(connection, case, ActionKind.REFRESH, at=now)
