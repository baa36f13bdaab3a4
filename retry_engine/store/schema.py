"""The database's schema: which one this engine needs, and how a database comes to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import Connection

from retry_engine.domain.errors import RetryEngineError
from retry_engine.store.database import Database

SCHEMA_REVISION = "0022"


def revision(connection: Connection) -> str | None:
    """The revision that database is at; None where it is empty."""
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415  # 0.3 s

    return MigrationContext.configure(connection).get_current_revision()


def server_version(connection: Connection) -> str:
    """PostgreSQL's own."""
    return str(connection.exec_driver_sql("show server_version").scalar_one())


def trouble(database: Database) -> str | None:
    """Why nothing can be stored there now; None where it can."""
    try:
        with database.connection() as connection:
            connection.exec_driver_sql("select 1 from inbox limit 1")
    except (RetryEngineError, psycopg.Error) as error:
        return f"unreachable: {type(error).__name__}"
    except Exception:  # noqa: BLE001  # a missing table, above all
        return "not migrated"
    return None


def migrate(database: Database, scripts: Path, target: str = "head") -> None:
    """Bring the database to a revision: `head`, `base` or a name."""
    from alembic import command  # noqa: PLC0415  # 0.3 s that only migrations need
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(scripts))
    with _alone(database) as connection:
        config.attributes["connection"] = connection
        if target == "base" or target.startswith("-"):
            command.downgrade(config, target)
        else:
            command.upgrade(config, target)


@contextmanager
def _alone(database: Database) -> Iterator[Connection]:
    """One migrator at a time: several processes may start at once."""
    with database.connection() as connection:
        connection.exec_driver_sql("select pg_advisory_lock(72657472, 1)")
        connection.commit()
        try:
            yield connection
            connection.commit()
        finally:
            connection.rollback()
            connection.exec_driver_sql("select pg_advisory_unlock(72657472, 1)")
            connection.commit()
