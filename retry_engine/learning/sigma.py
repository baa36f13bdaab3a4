"""Scheduled Sigma queries whose results are attempt logs: fetched, checked, imported."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pandas as pd
import structlog

from retry_engine.domain.errors import InvalidInput
from retry_engine.learning.log import read, validate
from retry_engine.learning.model_registry import contents
from retry_engine.recovery.gateway import SigmaRun
from retry_engine.store import inbox, learning
from retry_engine.store.database import CaseBusy, Database
from retry_engine.store.inbox import StoredEvent

log = structlog.get_logger()

# A query is ours if its title begins with this; all others are their owners' own business.
TITLE = "retry-engine attempt log"


class Results(Protocol):
    """What is asked of Stripe; `recovery.gateway.Gateway` says what these raise."""

    def sigma_run(self, account: str, run_id: str) -> SigmaRun:
        """A scheduled query's run."""

    def download(self, account: str, file_id: str, into: Path) -> None:
        """The contents of a file at Stripe, written to `into`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigmaResults:
    """Handles `sigma.scheduled_query_run.created`."""

    database: Database
    stripe: Results
    clock: Callable[[], datetime]

    def handle(self, event: StoredEvent) -> None:
        """Import the run's result, all of it or nothing; once, however often the event comes.

        Raises:
            InvalidInput: the run has no result, or the log is refused; no further try helps.
        """
        named = (event.payload.get("data") or {}).get("object") or {}
        if event.object_id is None or not _is_ours(str(named.get("title") or "")):
            self._done(event)
            return
        try:
            # a long file may outlast the event's lease, and another worker then comes for it
            with self.database.case_lock(f"sigma {event.account} {event.object_id}"):
                self._import(event, event.object_id)
        except CaseBusy:
            log.info("sigma_run_in_hand", run=event.object_id)

    def _import(self, event: StoredEvent, run_id: str) -> None:
        run = self.stripe.sigma_run(event.account, run_id)
        if run.status != "completed" or run.file_id is None:
            why = f": {run.error}" if run.error else ""
            raise InvalidInput(f"Sigma run {run.id} has no result, it is {run.status}{why}")
        rows, aside = self._read(event.account, run, run.file_id)
        with self.database.transaction() as connection:
            stored = learning.put_imported(connection, contents(rows))
            inbox.finish(connection, event.id, now=self.clock())
        log.info(
            "sigma_run_imported",
            run=run.id,
            rows=len(rows),
            new=stored.new,
            changed=stored.changed,
            columns_aside=aside,
        )

    def _read(self, account: str, run: SigmaRun, file_id: str) -> tuple[pd.DataFrame, list[str]]:
        name = f"Sigma run {run.id}"
        with tempfile.TemporaryDirectory(prefix="retry-engine-") as folder:
            path = Path(folder) / "result.csv"
            self.stripe.download(account, file_id, path)
            rows, aside = validate(read(path, name=name), name=name)
        if account:
            rows["account"] = rows["account"].where(rows["account"] != "", account)
        return rows, aside

    def _done(self, event: StoredEvent) -> None:
        with self.database.transaction() as connection:
            inbox.finish(connection, event.id, now=self.clock())


def _is_ours(title: str) -> bool:
    return title.strip().lower().startswith(TITLE)
