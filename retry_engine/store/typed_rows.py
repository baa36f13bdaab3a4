"""A query's rows as values of a dataclass, read by the names of their columns."""

from collections.abc import Iterable
from dataclasses import Field, fields
from enum import StrEnum
from typing import Any, ClassVar, Generic, Protocol, TypeVar, get_args, get_type_hints

from sqlalchemy import Column, Result, RowMapping, Table


class _Record(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


R = TypeVar("R", bound=_Record)


class Reader(Generic[R]):
    """Makes a dataclass of each row; its fields are columns, and those it is given alone are read.

    A field whose type is an enum holds a word of a closed set: one that is none of these is met
    here, and not where it decides something.

    Example:
        _READER = Reader(Review)
        _READER.all(connection.execute(select(*_READER.columns(reviews))))
    """

    def __init__(self, kind: type[R]) -> None:
        self._kind = kind
        self.names = tuple(field.name for field in fields(kind))
        found = ((name, _enum_of(hint)) for name, hint in get_type_hints(kind).items())
        self._words = tuple((name, enum) for name, enum in found if enum is not None)

    def columns(self, table: Table) -> list[Column[Any]]:
        """The table's columns that the dataclass is made of."""
        return [table.c[name] for name in self.names]

    def all(self, result: Result[Any]) -> list[R]:
        """Every row, in the query's order."""
        return [self.read(row) for row in result.mappings()]

    def first(self, result: Result[Any]) -> R | None:
        """The first row, or None where there is none."""
        row = result.mappings().first()
        return None if row is None else self.read(row)

    def one(self, result: Result[Any]) -> R:
        """The only row."""
        return self.read(result.mappings().one())

    def read(self, row: RowMapping) -> R:
        """One row; what it has besides the dataclass's fields is left aside."""
        values = {name: row[name] for name in self.names}
        for name, enum in self._words:
            if values[name] is not None:
                values[name] = enum(values[name])
        return self._kind(**values)


def _enum_of(hint: Any) -> type[StrEnum] | None:
    """The enum that a field's type is, or is where it is not None."""
    kinds: Iterable[Any] = get_args(hint) or (hint,)
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, StrEnum)), None)
