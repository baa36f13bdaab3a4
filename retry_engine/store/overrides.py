"""What people did to a case, for good."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from retry_engine.store.tables import overrides
from retry_engine.store.typed_rows import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideRow:
    """One act on a case; `before` and `after` are what was shown of it."""

    id: int
    case_id: str
    at: datetime
    by: str
    action: str
    reason: str
    before: dict[str, Any]
    after: dict[str, Any]


_READER = Reader(OverrideRow)


def add(
    connection: Connection,
    *,
    case_id: str,
    at: datetime,
    by: str,
    action: str,
    reason: str,
    before: dict[str, Any],
    after: dict[str, Any],
) -> int:
    """Record what a person did."""
    statement = (
        overrides.insert()
        .values(
            case_id=case_id,
            at=at,
            by=by,
            action=action,
            reason=reason,
            before=before,
            after=after,
        )
        .returning(overrides.c.id)
    )
    return int(connection.execute(statement).scalar_one())


def of_case(connection: Connection, case_id: str) -> list[OverrideRow]:
    """What people did to a case, oldest first."""
    statement = select(*_READER.columns(overrides)).where(overrides.c.case_id == case_id)
    return _READER.all(connection.execute(statement.order_by(overrides.c.id)))
