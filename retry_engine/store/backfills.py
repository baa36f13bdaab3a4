"""How far each reading of Stripe's past has come."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update
from sqlalchemy.dialects.postgresql import insert

from retry_engine.store.tables import backfills


def begin(connection: Connection, account: str, since: datetime, *, now: datetime) -> Row[Any]:
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
    statement = insert(backfills).values(account=account, since=since, **fresh)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["account", "since"],
            set_=fresh,
            where=backfills.c.finished_at.is_not(None),
        )
    )
    return connection.execute(select(backfills).where(*_the(account, since))).one()


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
) -> Row[Any]:
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
        .returning(backfills)
    )
    return connection.execute(statement).one()


def _the(account: str, since: datetime) -> Sequence[Any]:
    return (backfills.c.account == account, backfills.c.since == since)
