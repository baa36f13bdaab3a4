"""Learning as operators see it: logs in and out, models trained, judged, promoted, taken back."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import structlog

from retry_engine.domain.errors import CannotLearn, InvalidInput, NotFound, Refused
from retry_engine.domain.policy import Policy
from retry_engine.learning import card, drift, metrics, model_file, plot, serving, training
from retry_engine.learning.log import COLUMNS, events_of, read, validate, write
from retry_engine.store import learning
from retry_engine.store.database import Database

log = structlog.get_logger()

Document = dict[str, Any]
_DRIFT_WINDOW = timedelta(days=30)


@dataclass(slots=True)
class ModelRegistry:
    """`clock` is real time, `policy` what backtests are played by."""

    database: Database
    clock: Callable[[], datetime]
    policy: Policy = field(default_factory=Policy)

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
        """Imported rows and the engine's own; an attempt that both hold counts once.

        An invoice has one end, the latest that is known.
        """
        with self.database.transaction() as connection:
            rows = learning.imported_rows(connection) + learning.own_rows(connection)
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        checked, _ = validate(frame, name="log")
        return events_of(checked)

    # -- models

    def train(self, *, seed: int, promote: bool, on_progress: training.OnProgress) -> Document:
        """Fit a model on the whole log and store it with its card.

        With `promote` it decides from now on, unless its own backtest has it below the prior:
        `not_promoted` of the card says so then. Raises `CannotLearn` where the data carry none.
        """
        log = self.whole_log()
        trained = training.train(
            log, seed=seed, settings=self.policy.version, on_progress=on_progress
        )
        document = card.of_training(
            trained, log, policy=self.policy, seed=seed, on_progress=on_progress
        )
        document["trained_at"] = self.clock().isoformat()
        with self.database.transaction() as connection:
            learning.put_model(
                connection,
                version=trained.model.version,
                trained_at=self.clock(),
                card=document,
                file=model_file.write(trained.model),
                plot=plot.calibration(document),
                reference=drift.reference(trained, log),
            )
        worse = card.below_the_prior(document) if promote else None
        if promote and worse is None:
            self.promote(trained.model.version)
        more = {"promoted": promote and worse is None}
        return document | more | ({"not_promoted": worse} if worse else {})

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
        row = self._stored(version)
        return {**row.card, "state": row.state}

    def write_plot(self, version: str | None, path: Path) -> None:
        """The calibration plot of a model's card into a file, as a PNG.

        Raises `Refused` where it was stored without one, `InvalidInput` where it cannot be written.
        """
        row = self._stored(version)
        if row.plot is None:
            raise Refused(f"{row.version} was stored without a plot: train anew")
        try:
            path.write_bytes(row.plot)
        except OSError as error:
            raise InvalidInput(f"{path}: cannot be written: {error.strerror}") from None

    def _stored(self, version: str | None) -> Any:
        with self.database.transaction() as connection:
            chosen = version or learning.active_version(connection)
            row = learning.model(connection, chosen) if chosen else None
        if row is None:
            raise NotFound(serving.no_such(version))
        return row

    def promote(self, version: str) -> Document:
        """Let a stored model decide; refused where this installation cannot read it."""
        serving.load(self.database, version)
        with self.database.transaction() as connection:
            learning.activate(connection, version, now=self.clock())
        return {"active": version}

    def check(self, version: str) -> None:
        """Raise `InvalidInput` with the reason where a stored model cannot be read here."""
        serving.load(self.database, version)

    def rollback(self) -> Document:
        """Back to the model before, or to the prior; `Refused` where the prior decides now."""
        with self.database.transaction() as connection:
            if learning.active_version(connection) is None:
                raise Refused("no model is active: the documented prior decides already")
            before = learning.previously_active(connection)
            learning.activate(connection, before, now=self.clock())
        return {"active": before}

    def evaluate(
        self,
        version: str | None,
        *,
        seed: int = 0,
        on_progress: training.OnProgress = lambda _: None,
    ) -> Document:
        """A stored model on the cases after its training data; on all where there are too few.

        The model is as stored: each retry is scored as it would have been then. Only the models
        that answer in the backtest are fitted. Raises `CannotLearn` where the log has no retries.
        """
        row = self._stored(version)
        model = serving.load(self.database, row.version)
        log = self.whole_log()
        ended = metrics.ends(log)
        until = pd.Timestamp(row.card["to"])
        after = ended.index[ended["opened"] > until]
        document = card.score(log, model, set(after), ended=ended, seed=seed)
        fresh = document["retries"] >= training.MIN_WINS
        if not fresh:
            document = card.score(log, model, set(ended.index), ended=ended, seed=seed)
        if not document["retries"]:
            raise CannotLearn("the log has no retries to judge a model on")
        head: Document = {
            "version": row.version,
            "judged_on": f"cases opened after its training data ended on {until:%Y-%m-%d}"
            if fresh
            else f"the data it was trained on: under {training.MIN_WINS} retries of cases opened "
            f"after {until:%Y-%m-%d}; these figures flatter",
            "on_training_data": not fresh,
        }
        if not fresh:
            return head | document | {"not_measured": ["the backtest: it needs later cases"]}
        rows = training.rows_of(log, seed=seed, on_progress=on_progress)
        decided_by = f"{row.version}, as stored"
        since = ended["opened"][after].min().to_pydatetime()
        return head | document | card.of_policy(
            log, rows, model, since=since, policy=self.policy, seed=seed, decided_by=decided_by,
            on_progress=on_progress,
        )  # fmt: skip

    def drift(self, *, since: datetime | None, seed: int = 0) -> Document:
        """The log's last days against the active model's training data; 30 where none are given.

        Days count back from the log's last attempt, which is by its case's clock. Raises `Refused`
        where the model was stored without a reference, `CannotLearn` where the log has no attempts.
        """
        row = self._stored(None)
        if row.reference is None:
            raise Refused(f"{row.version} was stored without what drift is measured against")
        model, known = serving.load(self.database, row.version), row.reference
        log = self.whole_log()
        attempts = log[log["kind"] == "attempt"]
        if attempts.empty:
            raise CannotLearn("the log has no attempts to compare with the training data")
        begin = pd.Timestamp(since) if since else attempts["at"].max() - _DRIFT_WINDOW
        rows, retries = drift.of_window(log, model, begin, seed=seed)
        chance = np.concatenate(
            model.success_probabilities(
                [(r.view, r.method, rows.at[i : i + 1]) for i, r in enumerate(retries)]
            )
        )
        with self.database.transaction() as connection:
            promises = learning.promises(connection, row.version, since=begin.to_pydatetime())
        top = [f["feature"] for f in row.card["top_features"]]
        parts = {
            "features": drift.judge_features(rows, known, top),
            "segments": drift.judge_groups(rows, known),
            "codes": drift.judge_codes(attempts[attempts["at"] >= begin], known),
            "promises": drift.judge_promises([asdict(promise) for promise in promises]),
            "brier": drift.judge_brier(chance, rows.won, known),
        }
        trained_to = pd.Timestamp(row.card["to"]).timestamp()
        return {
            "version": row.version,
            "since": begin.isoformat(),
            "to": attempts["at"].max().isoformat(),
            "retries": len(rows.won),
            "retries_of_training_among_them": int((rows.at <= trained_to).sum()),
            "verdict": drift.worst(parts),
            "parts": parts,
            "thresholds": drift.THRESHOLDS,
        }


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
