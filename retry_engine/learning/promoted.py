"""The promoted model, for processes that mostly need none of its libraries."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from retry_engine.store import learning
from retry_engine.store.database import Database

if TYPE_CHECKING:  # a second of libraries
    from retry_engine.decisioning.success_model import LearntModel
    from retry_engine.learning.serving import ActiveModel, Known


class PromotedModel:
    """Answers the model that decides; without a promoted one nothing of its libraries is loaded.

    `known`: the active model where this process has it already.
    """

    def __init__(
        self, database: Database, clock: Callable[[], datetime], known: "Known | None" = None
    ) -> None:
        self._database = database
        self._clock = clock
        self._given = known
        self._active: ActiveModel | None = None

    def __call__(self) -> "LearntModel | None":
        """The model that decides now; None: the documented prior does."""
        if self._active is None and self._is_promoted():
            self._active = self._serving()
        return self._active() if self._active is not None else None

    @property
    def known(self) -> "Known | None":
        """The model that was read last, with its version; None: none ever was."""
        return self._active.known if self._active is not None else None

    def _is_promoted(self) -> bool:
        with self._database.transaction() as connection:
            return learning.active_version(connection) is not None

    def _serving(self) -> "ActiveModel":
        from retry_engine.learning.serving import ActiveModel, Known  # noqa: PLC0415  # 1 s

        return ActiveModel(self._database, self._clock, self._given or Known())
