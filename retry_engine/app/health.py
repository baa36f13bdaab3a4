"""Figures of the engine as it stands: for `status`, the probes, the metrics and the doctor."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Connection

from retry_engine.app import documents
from retry_engine.app.decisions import PRIOR_VERSION
from retry_engine.domain.modes import Mode
from retry_engine.domain.vocabulary import CaseState
from retry_engine.recovery.gate import Gate
from retry_engine.store import (
    attempts,
    engine_state,
    holdings,
    inbox,
    invariants,
    learning,
    messages,
    offers,
    outbox,
    renewals,
    reviews,
    schedule,
    schema,
)
from retry_engine.store import cases as rows
from retry_engine.store.database import Database


class Reachable(Protocol):
    """The broker, as far as a probe is concerned."""

    def is_reachable(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Reads the record, and changes nothing."""

    database: Database
    broker: Reachable
    gate: Gate
    clock: Callable[[], datetime]

    def status(self) -> dict[str, Any]:
        """How much work there is, by each case's own clock."""
        now, shut = self.clock(), self.gate.is_shut
        with self.database.transaction() as connection:
            counted = schedule.counts(connection, now=now, shut=shut)
            events = inbox.counts(connection)
            states = rows.counts(connection)
            modes = rows.living_modes(connection)
            paused = engine_state.read(connection).paused
            warnings = 0 if paused or shut else renewals.due(connection, now=now)
            model = learning.active_version(connection)
            given_up = holdings.outcomes_given_up(connection, now=now)
        return {
            "inbox_pending": events["pending"],
            "actions_due": counted.due + warnings,
            "actions_in_flight": counted.in_flight,
            "actions_planned": counted.planned,
            "cases_open": sum(states.values()),
            "cases_in_review": states.get(CaseState.IN_REVIEW, 0),
            "paused": paused,
            "mode": self.gate.engine_mode,
            "cases_that_wait_for_takeover": modes.get(Mode.TAKEOVER, 0) if shut else 0,
            "model": model or PRIOR_VERSION,
            "events_dead": events["dead"],
            "events_aside": events["aside"],
            "outcomes_given_up": given_up,
            "next_due_at": documents.text(counted.next_due_at),
        }

    def readiness(self) -> dict[str, str]:
        """Whether work can be taken in, by part; `ok` or what is wrong."""
        return {
            "database": schema.trouble(self.database) or "ok",
            "broker": "ok" if self.broker.is_reachable() else "unreachable",
        }

    def invariants(self) -> dict[str, int]:
        """Truths that must hold at any moment, with how often each is broken."""
        with self.database.transaction() as connection:
            return self._breaches(connection)

    def _breaches(self, connection: Connection) -> dict[str, int]:
        held = holdings.breaches(connection, now=self.clock())
        return {**invariants.breaches(connection), **held}

    def held(self) -> dict[str, holdings.Held]:
        """The invoices that Stripe does not retry because of us, by what is done about them."""
        with self.database.transaction() as connection:
            return self._held(connection)

    def _held(self, connection: Connection) -> dict[str, holdings.Held]:
        return holdings.found(connection, now=self.clock(), shut=self.gate.is_shut)

    def living(self) -> dict[str, Any]:
        """Figures of what is not over: as cheap as there is little of it."""
        with self.database.transaction() as connection:
            return {
                "cases": rows.counts(connection),
                "reviews_open": reviews.open_count(connection),
                "reviews_overdue": holdings.overdue_reviews(connection, now=self.clock()),
                "outbound": outbox.counts(connection),
            }

    def totals(self) -> dict[str, Any]:
        """Figures of all that ever was; the cost grows with it."""
        with self.database.transaction() as connection:
            return {
                "attempts": attempts.counts(connection),
                "messages": messages.counts(connection),
                "offers": offers.counts(connection),
                "breaches": self._breaches(connection),
                "held": {kind: held.count for kind, held in self._held(connection).items()},
            }
