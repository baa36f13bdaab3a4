"""Learning as operators see it: logs in and out, models trained, judged, promoted, taken back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import structlog

from retry_engine.domain.errors import CannotLearn, InvalidInput, NotFound, Refused
from retry_engine.learning import card, lives, model_file, training
from retry_engine.learning.log import COLUMNS, read, validate, write
from retry_engine.mind.hazard import LearntModel
from retry_engine.store import learning
from retry_engine.store.database import Database

log = structlog.get_logger()

Document = dict[str, Any]
_LOOK_AGAIN = timedelta(seconds=5)


@dataclass(slots=True)
class Desk:
    """`clock` is real time. The active model is read once, and anew when another is promoted."""

    database: Database
    clock: Callable[[], datetime]
    _looked_at: datetime | None = field(default=None, init=False)
    _version: str | None = field(default=None, init=False)
    _model: LearntModel | None = field(default=None, init=False)

    # -- the log

    def import_files(self, paths: Sequence[Path]) -> Document:
        """Store the files' rows, all of them or none; what was stored before is left as it is."""
        checked = [(path, *validate(read(path), name=str(path))) for path in paths]
        files = []
        with self.database.transaction() as connection:
            for path, rows, aside in checked:
                new = learning.put_imported(connection, contents(rows)).new
                files.append(
                    {"file": str(path), "rows": len(rows), "new": new, "columns_aside": aside}
                )
        return {"files": files, "new": sum(f["new"] for f in files)}

    def export_file(self, path: Path) -> Document:
        """Write the whole log, imported and the engine's own."""
        rows = self.whole_log()
        write(rows, path)
        return {"file": str(path), "rows": len(rows)}

    def whole_log(self) -> pd.DataFrame:
        """Imported rows and the engine's own; an attempt that both hold counts once."""
        with self.database.transaction() as connection:
            rows = learning.imported_rows(connection) + learning.own_rows(connection)
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        checked, _ = validate(frame, name="log")
        same = ["kind", "invoice_id", "at", "payment_method_id", "outcome", "decline_code"]
        return checked.drop_duplicates(same, keep="last").reset_index(drop=True)

    # -- models

    def train(self, *, seed: int, promote: bool, say: training.Say) -> Document:
        """Fit a model on the whole log and store it with its card.

        Raises `CannotLearn` with the reason where the data carry none.
        """
        trained = training.train(self.whole_log(), seed=seed, say=say)
        document = card.of_training(trained) | {"trained_at": self.clock().isoformat()}
        with self.database.transaction() as connection:
            learning.put_model(
                connection,
                version=trained.model.version,
                trained_at=self.clock(),
                card=document,
                file=model_file.write(trained.model),
            )
        if promote:
            self.promote(trained.model.version)
        return document | {"promoted": promote}

    def list_models(self) -> list[Document]:
        """Stored models, newest first."""
        with self.database.transaction() as connection:
            rows = learning.list_models(connection)
        return [
            {
                "version": row.version,
                "state": row.state,
                "trained_at": row.trained_at.isoformat(),
                "promoted_at": row.promoted_at.isoformat() if row.promoted_at else None,
                "retries_used": row.card.get("retries_used"),
                "concordance": row.card.get("concordance"),
                "brier": row.card.get("brier"),
            }
            for row in rows
        ]

    def show(self, version: str | None) -> Document:
        """A model's card; without a version the active one's."""
        with self.database.transaction() as connection:
            chosen = version or learning.active_version(connection)
            row = learning.model(connection, chosen) if chosen else None
        if row is None:
            raise NotFound(_no_such(version))
        return {**row.card, "state": row.state}

    def promote(self, version: str) -> Document:
        """Let a stored model decide; refused where this installation cannot read it."""
        self._load(version)
        with self.database.transaction() as connection:
            learning.activate(connection, version, now=self.clock())
        return {"active": version}

    def check(self, version: str) -> None:
        """Raise `InvalidInput` with the reason where a stored model cannot be read here."""
        self._load(version)

    def rollback(self) -> Document:
        """Back to the model that decided before, or to the documented prior."""
        with self.database.transaction() as connection:
            if learning.active_version(connection) is None:
                raise Refused("no model is active: the documented prior decides already")
            before = learning.previously_active(connection)
            learning.activate(connection, before, now=self.clock())
        return {"active": before}

    def evaluate(self, version: str | None) -> Document:
        """A stored model on the retries after its training data; all of them where there are none.

        Nothing is fitted: each retry is scored as it would have been then.
        """
        with self.database.transaction() as connection:
            chosen = version or learning.active_version(connection)
        if chosen is None:
            raise NotFound(_no_such(version))
        model = self._load(chosen)
        until = pd.Timestamp(self.show(chosen)["to"])
        chance, won, when = [], [], []
        for retry in lives.walk(self.whole_log()):
            at = np.array([retry.attempt.at.timestamp()])
            chance.append(float(model.success_probability(retry.view, retry.method, at)[0]))
            won.append(retry.won)
            when.append(retry.attempt.at)
        later = np.array([pd.Timestamp(at) > until for at in when], dtype=bool)
        seen = int(later.sum()) < training.MIN_WINS
        chosen_rows = np.ones(len(later), dtype=bool) if seen else later
        if not len(later):
            raise CannotLearn("the log has no retries to judge a model on")
        judged = card.judge(np.array(chance)[chosen_rows], np.array(won, dtype=bool)[chosen_rows])
        return {
            "version": chosen,
            "judged_on": "the retries it was trained on" if seen else "retries after its training",
            "retries": int(chosen_rows.sum()),
            **judged,
        }

    # -- serving

    def active_model(self) -> LearntModel | None:
        """The model that decides; None: the documented prior, also where a model is unreadable."""
        now = self.clock()
        if self._looked_at is None or now - self._looked_at >= _LOOK_AGAIN:
            self._looked_at = now
            with self.database.transaction() as connection:
                version = learning.active_version(connection)
            if version != self._version:
                self._version, self._model = version, self._load_or_prior(version)
        return self._model

    def _load_or_prior(self, version: str | None) -> LearntModel | None:
        if version is None:
            return None
        try:
            return self._load(version)
        except (InvalidInput, NotFound) as error:
            log.error("model_refused", model=version, error=str(error), decides="prior")
            return None

    def _load(self, version: str) -> LearntModel:
        with self.database.transaction() as connection:
            row = learning.model(connection, version)
        if row is None:
            raise NotFound(_no_such(version))
        return model_file.read(row.file, sha256=row.sha256)


def contents(rows: pd.DataFrame) -> list[Document]:
    """Rows as stored: nothing that is empty, times as text."""
    found = []
    for row in rows.to_dict("records"):
        kept = {str(k): v for k, v in row.items() if v != "" and not pd.isna(v)}
        for name in ("at", "customer_since"):
            if name in kept:
                kept[name] = kept[name].isoformat()
        if "amount" in kept:
            kept["amount"] = int(kept["amount"])
        found.append(kept)
    return found


def _no_such(version: str | None) -> str:
    if version is None:
        return "no model is active; `retry-engine model list` shows the stored ones"
    return f"there is no model {version!r}; `retry-engine model list` shows the stored ones"
