"""Statements whose text is made once: building and looking one up costs more than running it."""

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, CursorResult, Table, bindparam, update
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.sql.expression import ClauseElement

_DIALECT = psycopg.dialect()  # type: ignore[no-untyped-call]


def in_words(words: Iterable[StrEnum]) -> str:
    """Members of the vocabulary as a list in SQL."""
    return ", ".join(f"'{word.value}'" for word in words)


class Prepared:
    """A statement with named parameters; its values and results pass as the driver gives them.

    For tables without JSON columns, which need the types that this leaves out.

    Example:
        _GET = Prepared(select(cases).where(cases.c.id == bindparam("case_id")))
        _GET.run(connection, case_id="case_1").first()
    """

    def __init__(self, statement: ClauseElement | str) -> None:
        self._sql = (
            statement if isinstance(statement, str) else str(statement.compile(dialect=_DIALECT))
        )

    def run(self, connection: Connection, **values: Any) -> CursorResult[Any]:
        """Execute it in the connection's transaction."""
        return connection.exec_driver_sql(self._sql, values)


def words(of: Iterable[StrEnum]) -> str:
    """Members of one of our own closed sets as a list for `in`: no value from outside is one."""
    return f"({', '.join(repr(word.value) for word in sorted(of))})"


@lru_cache(maxsize=256)
def update_by_id(table: Table, names: tuple[str, ...], returning: tuple[str, ...]) -> Prepared:
    """`update table set names where id = :key`; each name's value goes by `new_` and the name."""
    statement: Any = (
        update(table)
        .where(table.c.id == bindparam("key"))
        .values({name: bindparam(f"new_{name}") for name in names})
    )
    if returning:
        statement = statement.returning(*(table.c[name] for name in returning))
    return Prepared(statement)


def change_by_id(
    connection: Connection,
    table: Table,
    key: Any,
    values: dict[str, Any],
    returning: Iterable[str] = (),
) -> CursorResult[Any]:
    """Set columns of the row with that id."""
    statement = update_by_id(table, tuple(sorted(values)), tuple(returning))
    return statement.run(connection, key=key, **{f"new_{k}": v for k, v in values.items()})
