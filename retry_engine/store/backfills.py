"""How far each reading of Stripe's past has come."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert

from retry_engine.store.tables import backfills
from retry_engine.store.typed_rows import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillRow:
    """How far one reading has come: `cursor` is the last charge read, `reached` how far back."""

    account: str
    since: datetime
    cursor: str | None
    reached: datetime | None
    charges: int
    invoices: int
    new: int
    changed: int
    started_at: datetime
    finished_at: datetime | None


_READER = Reader(BackfillRow)


def begin(connection: Connection, account: str, since: datetime, *, now: datetime) -> BackfillRow:
    """The place to go on from: where a stopped one stopped, else the very beginning."""
    fresh = {
        "cursor": None,
        "reached": None,
        "charges": 0,
        "invoices": 0,
        "new": 0,
        "changed": 0,
        "started_at": now,
        "finished_at": None,
    }
    first = insert(backfills).values(account=account, since=since, **fresh)
    connection.execute(
        first.on_conflict_do_update(
            index_elements=["account", "since"],
            set_=fresh,
            where=backfills.c.finished_at.is_not(None),
        )
    )
    statement = select(*_READER.columns(backfills)).where(*_the(account, since))
    return _READER.one(connection.execute(statement))


def advance(
    connection: Connection,
    account: str,
    since: datetime,
    *,
    cursor: str | None,
    reached: datetime | None,
    charges: int,
    invoices: int,
    new: int,
    changed: int,
    finished_at: datetime | None,
) -> BackfillRow:
    """A page is done: its rows are in the same transaction. The progress as it is now."""
    statement = (
        update(backfills)
        .where(*_the(account, since))
        .values(
            cursor=cursor,
            reached=reached,
            charges=backfills.c.charges + charges,
            invoices=backfills.c.invoices + invoices,
            new=backfills.c.new + new,
            changed=backfills.c.changed + changed,
            finished_at=finished_at,
        )
        .returning(*_READER.columns(backfills))
    )
    return _READER.one(connection.execute(statement))


def _the(account: str, since: datetime) -> Sequence[Any]:
    return (backfills.c.account == account, backfills.c.since == since)
