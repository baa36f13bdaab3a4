"""What people see of the cases and decide about them: by the CLI and by `/api` alike."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retry_engine.app import documents, explanations
from retry_engine.app.decisions import Decisions
from retry_engine.app.explanations import Question
from retry_engine.app.overrides import Override, Overrides, Progress
from retry_engine.domain.errors import NotFound, RetryEngineError
from retry_engine.recovery.dispatch import Dispatcher
from retry_engine.recovery.policies import Policies
from retry_engine.recovery.telling import OUTBOUND_ID
from retry_engine.store import cases as rows
from retry_engine.store import inbox, outbox
from retry_engine.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """Each answer is a document as the contract gives it."""

    database: Database
    overrides: Overrides
    decisions: Decisions
    policies: Policies
    dispatcher: Dispatcher
    clock: Callable[[], datetime]

    # -- looking

    def list_cases(
        self,
        *,
        state: str | None = None,
        customer: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> dict[str, Any]:
        """One page of cases, newest first."""
        with self.database.transaction() as connection:
            return documents.list_cases(
                connection,
                state=state,
                customer=customer,
                limit=limit,
                cursor=cursor,
                real_now=self.clock(),
            )

    def show_case(self, ref: str) -> dict[str, Any]:
        """One case with all that happened to it."""
        with self.database.transaction() as connection:
            return documents.whole_case(connection, rows.find(connection, ref), self.clock())

    def explain_case(
        self, ref: str, *, at: datetime | None = None, payment_method: str | None = None
    ) -> dict[str, Any]:
        """Why the last decision was made, and the chances as they look now.

        With a moment or a method also why not then, or on that.
        """
        question = None
        if at is not None or payment_method is not None:
            question = Question(at=at, payment_method=payment_method)
        with self.database.transaction() as connection:
            return explanations.explain(
                connection,
                rows.find(connection, ref),
                question,
                policies=self.policies,
                decider=self.decisions,
                real_now=self.clock(),
            )

    def list_reviews(
        self, *, state: str | None = "open", limit: int = 50, cursor: str | None = None
    ) -> dict[str, Any]:
        """One page of the review queue, oldest first."""
        with self.database.transaction() as connection:
            return documents.list_reviews(
                connection, state=state, limit=limit, cursor=cursor, real_now=self.clock()
            )

    def engine_log(self, *, limit: int = 50, cursor: str | None = None) -> dict[str, Any]:
        """The switch as it stands, and a page of who turned it before, newest first."""
        with self.database.transaction() as connection:
            return documents.engine_log(connection, limit=limit, cursor=cursor)

    def dead_letters(self) -> list[dict[str, Any]]:
        """What was given up, of Stripe's events and of those to the host application."""
        with self.database.transaction() as connection:
            found = inbox.dead(connection)
            untold = outbox.dead(connection)
        came = [
            {**row, "received_at": documents.text(row["received_at"]), "direction": "in"}
            for row in found
        ]
        went = [
            {
                "event_id": row.id,
                "account": row.account,
                "type": row.type,
                "object_id": row.case_id,
                "received_at": documents.text(row.since),
                "tries": row.tries,
                "last_error": row.last_error,
                "direction": "out",
            }
            for row in untold
        ]
        return sorted(came + went, key=lambda row: str(row["received_at"]), reverse=True)

    # -- deciding

    def override(
        self,
        ref: str,
        *,
        action: str,
        reason: str,
        by: str,
        at: datetime | None = None,
        payment_method: str | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """A person's act on a case; a brake tells `progress` what charge of it is waited for."""
        wanted = Override(action=action, reason=reason, by=by, at=at, payment_method=payment_method)
        document = self.overrides.override(ref, wanted, progress=progress)
        self._enqueue()
        return document

    def decide_review(
        self, review_id: str, *, verdict: str, reason: str, by: str
    ) -> dict[str, Any]:
        """A person's verdict."""
        document = self.overrides.decide_review(review_id, verdict=verdict, reason=reason, by=by)
        self._enqueue()
        return document

    def set_engine(
        self, *, action: str, reason: str, by: str, progress: Progress | None = None
    ) -> dict[str, Any]:
        """The stop for everything, or its end; a stop tells what is still waited for."""
        document = self.overrides.set_engine(action=action, reason=reason, by=by, progress=progress)
        if not document["paused"]:
            self._enqueue()
        return document

    def replay_event(self, event_id: str) -> None:
        """Give a dead event another life, or an account that is back its events and outcomes."""
        if event_id.startswith(OUTBOUND_ID):
            self._tell_again(event_id)
            return
        self.dispatcher.replay(event_id)
        self._enqueue()

    def _tell_again(self, event_id: str) -> None:
        """The workers find it at their next tick."""
        with self.database.transaction() as connection:
            if not outbox.replay(connection, event_id, now=self.clock()):
                raise NotFound(f"no dead event {event_id!r}; `retry-engine events dead` lists them")

    def _enqueue(self) -> None:
        """What a person asked for is done at once, not at the next tick."""
        with suppress(RetryEngineError):
            self.dispatcher.dispatch()
