"""The policy file as it is now, and the versions by which older cases go on."""

from dataclasses import asdict
from functools import lru_cache

from sqlalchemy import Connection

from retry_engine.domain.errors import RetryEngineError
from retry_engine.domain.policy import Policy, from_content
from retry_engine.store import engine_state
from retry_engine.store.database import Database


class Policies:
    """Finds a version's policy; `current` is what new cases are opened with."""

    def __init__(self, database: Database, current: Policy) -> None:
        self.current = current
        self._database = database
        self._read_once = lru_cache(maxsize=64)(self._read)

    def of(self, version: str) -> Policy:
        """That version, which a case was opened with.

        Raises:
            RetryEngineError: it was never kept.
        """
        return self.current if version == self.current.version else self._read_once(version)

    def keep(self, connection: Connection) -> None:
        """Store the current version, so that it is found once the file has changed."""
        engine_state.keep_policy(connection, self.current.version, asdict(self.current))

    def _read(self, version: str) -> Policy:
        with self._database.transaction() as connection:
            content = engine_state.policy_content(connection, version)
        if content is None:
            raise RetryEngineError(f"policy version {version!r} is not in the database")
        return from_content(content)
