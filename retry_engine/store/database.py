"""Connections, transactions and the locks that money depends on."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import psycopg
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import NullPool

from retry_engine.domain.errors import Refused, StoreUnavailable

# One advisory lock for the whole engine: shared by whoever moves money; a pause waits for its end.
_ENGINE_LOCK = 0x7265_7472

# What a process that vanished held is let go of within a minute, not within the system's two hours.
_KEEPALIVES = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"

# What is raised where the server, or the way to it, was lost in the middle of something.
CONNECTION_LOST = (OperationalError, psycopg.OperationalError)

# A connection that was used this recently is taken to be alive.
_TRUSTED_SECONDS = 1.0


class CaseBusy(Refused):
    """Somebody is at work on this case; the row that asked for work stays and is taken up again."""


class Database:
    """A pool of connections to one PostgreSQL. Nothing is opened before it is used.

    The locks are session locks on the working connection, so that a process that dies lets go of
    them by dying; a pooler in between must therefore pool sessions, not transactions.
    """

    def __init__(
        self, url: str, *, pool_size: int = 5, statement_timeout_seconds: int = 60
    ) -> None:
        self.url = driver_url(url)
        self.engine = create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=10,
            # what is in the rows is not for the logs
            hide_parameters=True,
            connect_args=_connect_args(statement_timeout_seconds),
        )
        self._apart = create_engine(
            driver_url(url),
            poolclass=NullPool,
            hide_parameters=True,
            connect_args=_connect_args(0),
        )
        event.listen(self.engine, "checkin", _note_time)
        event.listen(self.engine, "checkout", _ask_if_idle)

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection on which the caller begins and commits; its errors are ours."""
        with _errors_of_ours(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back by an exception."""
        with _errors_of_ours(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def apart(self) -> Iterator[Connection]:
        """A connection outside the pool, without a time limit, each statement its own transaction.

        For the brake: whoever else waits, for whatever, cannot keep it from being pulled.
        """
        with _errors_of_ours(), self._apart.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def case_lock(self, case_id: str, *, wait_seconds: float = 0.0) -> Iterator[Connection]:
        """A connection that alone works on that case until the block ends, commits included.

        It spans several transactions and the calls to Stripe between them: that is what makes a
        pause wait for a charge that is already on its way, instead of crossing it.

        Raises:
            CaseBusy: somebody else holds it, after `wait_seconds`.
        """
        key = _lock_key(case_id)
        with self.connection() as connection:
            if not _take(connection, key, wait_seconds):
                raise CaseBusy("a charge or an update of this case is under way; try again shortly")
            try:
                yield connection
            finally:
                _release(connection)

    def money_may_move(self, connection: Connection) -> None:
        """From here until the case's lock ends, on whose connection this is, money may move.

        For all that is no charge: a discount, an end. `engine pause` waits for that lock's end.
        Whoever takes it asks afterwards whether the engine is paused.
        """
        _lock_call(connection, "select pg_advisory_lock_shared(%s)", _ENGINE_LOCK)


def money_moves(connection: Connection) -> bool:
    """Whether anybody is between `money_may_move` and the end of their case's lock."""
    query = text("select pg_try_advisory_xact_lock(:key)")
    return not connection.execute(query, {"key": _ENGINE_LOCK}).scalar_one()


def _connect_args(statement_timeout_seconds: int) -> dict[str, Any]:
    limit = f"-c statement_timeout={statement_timeout_seconds}s"
    return {
        "connect_timeout": 5,
        "application_name": "retry-engine",
        "options": f"-c timezone=UTC {limit} {_KEEPALIVES}",
    }


def _note_time(_: Any, record: Any) -> None:
    record.info["since"] = monotonic()


def _ask_if_idle(driver: Any, record: Any, _: Any) -> None:
    """Find out whether a connection still lives, where it lay idle long enough to have died.

    SQLAlchemy's own question comes before every use, a round trip each. What dies within this
    short time fails its work once, and the row that asked for the work is taken up again.
    """
    if monotonic() - record.info.get("since", monotonic()) < _TRUSTED_SECONDS:
        return
    try:
        driver.execute("select 1")
        driver.rollback()
    except psycopg.Error as error:
        raise DisconnectionError from error


def driver_url(url: str) -> str:
    """The URL with the one driver we use spelled out."""
    parsed = make_url(url)
    return parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _lock_key(case_id: str) -> int:
    digest = hashlib.blake2b(case_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _take(connection: Connection, key: int, wait_seconds: float) -> bool:
    if _lock_call(connection, "select pg_try_advisory_lock(%s)", key):
        return True
    if wait_seconds <= 0:
        return False
    try:
        connection.execute(text(f"set local lock_timeout = {int(wait_seconds * 1000)}"))
        connection.execute(text("select pg_advisory_lock(:key)"), {"key": key})
        connection.commit()
    except OperationalError as error:
        connection.rollback()
        if getattr(error.orig, "sqlstate", None) == "55P03":  # lock_not_available
            return False
        raise
    return True


@contextmanager
def alone(connection: Connection) -> Iterator[Connection]:
    """Single statements, each its own transaction: one round trip in place of three.

    After an error the connection is thrown away, and with it every lock it held.
    """
    driver: Any = connection.connection.driver_connection
    driver.autocommit = True
    try:
        yield connection
        if connection.in_transaction():  # SQLAlchemy's own; the server knows of none
            connection.commit()
        driver.autocommit = False
    except BaseException:
        connection.invalidate()
        raise


def _lock_call(connection: Connection, statement: str, key: int) -> bool:
    """Whether the call of that locking function said yes, or nothing."""
    with alone(connection):
        driver: Any = connection.connection.driver_connection
        return driver.execute(statement, (key,)).fetchone()[0] is not False


def _release(connection: Connection) -> None:
    """Let go of both locks; a connection that cannot is thrown away, which lets go as well."""
    if connection.invalidated:
        return
    try:
        if connection.in_transaction():
            connection.rollback()
        with alone(connection):
            driver: Any = connection.connection.driver_connection
            driver.execute("select pg_advisory_unlock_all()")
    except (DBAPIError, psycopg.Error):
        connection.invalidate()


@contextmanager
def _errors_of_ours() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise StoreUnavailable("PostgreSQL: no free connection within 10 s") from error
    except (OperationalError, psycopg.OperationalError) as error:
        cause = error.orig if isinstance(error, OperationalError) else error
        first_line = str(cause).strip().partition("\n")[0]
        if getattr(cause, "sqlstate", None) is None:
            raise StoreUnavailable("PostgreSQL cannot be reached", detail=first_line) from error
        kind = type(cause).__name__
        raise StoreUnavailable(f"PostgreSQL refuses now ({kind})", detail=first_line) from error
