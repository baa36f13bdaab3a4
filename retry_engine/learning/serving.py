"""The model that decides, in a process that decides with it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from retry_engine.decisioning.success_model import LearntModel
from retry_engine.domain.errors import InvalidInput, NotFound
from retry_engine.learning import model_file
from retry_engine.store import learning
from retry_engine.store.database import Database

log = structlog.get_logger()

_LOOK_AGAIN = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Known:
    """A version and its model; None: the documented prior, also where a model is unreadable."""

    version: str | None = None
    model: LearntModel | None = None


@dataclass(slots=True)
class ActiveModel:
    """Reads the active model once, and anew when another is promoted; `clock` is real time."""

    database: Database
    clock: Callable[[], datetime]
    known: Known = field(default_factory=Known)
    _looked_at: datetime | None = field(default=None, init=False)

    def __call__(self) -> LearntModel | None:
        """The model that decides now, None for the documented prior."""
        now = self.clock()
        if self._looked_at is None or now - self._looked_at >= _LOOK_AGAIN:
            self._looked_at = now
            with self.database.transaction() as connection:
                version = learning.active_version(connection)
            if version != self.known.version:
                self.known = Known(version, self._load_or_prior(version))
        return self.known.model

    def _load_or_prior(self, version: str | None) -> LearntModel | None:
        if version is None:
            return None
        try:
            return load(self.database, version)
        except (InvalidInput, NotFound) as error:
            log.error("model_refused", model=version, error=str(error), decides="prior")
            return None


def load(database: Database, version: str) -> LearntModel:
    """A stored model; `NotFound`, or `InvalidInput` with the reason where it cannot be read."""
    with database.transaction() as connection:
        row = learning.model(connection, version)
    if row is None:
        raise NotFound(no_such(version))
    return model_file.read(row.file, sha256=row.sha256)


def no_such(version: str | None) -> str:
    """That there is no such model, in words."""
    if version is None:
        return "no model is active; `retry-engine model list` shows the stored ones"
    return f"there is no model {version!r}; `retry-engine model list` shows the stored ones"
