"""The outbox: what was said to whom, and who is not to be written to.

A row is written before anything is sent; nothing is sent twice for one row.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from retry_engine.store import renewals
from retry_engine.store.tables import engine_state, messages, suppression_acts, suppressions

# A message of these states counts as said; of `unknown` nobody knows, so it counts too.
SAID = ("sending", "sent", "unknown", "bounced", "shadow")


def begin(connection: Connection, **values: Any) -> None:
    """The intent. The database refuses it where nobody may be written to."""
    connection.execute(messages.insert().values(**values))


def of_action(connection: Connection, action_id: int) -> Row[Any] | None:
    """What that action has begun to send."""
    return connection.execute(select(messages).where(messages.c.action_id == action_id)).first()


def finish(connection: Connection, action_id: int, *, state: str, error: str | None = None) -> None:
    """What became of it."""
    connection.execute(
        update(messages)
        .where(messages.c.action_id == action_id, messages.c.state == "sending")
        .values(state=state, error=error[:500] if error else None)
    )


def of_case(connection: Connection, case_id: str) -> Sequence[Row[Any]]:
    """All messages of a case, oldest first."""
    query = select(messages).where(messages.c.case_id == case_id)
    return connection.execute(query.order_by(messages.c.at, messages.c.id)).all()


def said_to_customer(
    connection: Connection, account: str, customer_id: str, *, since: datetime
) -> int:
    """How many messages the customer got about any invoice, or before one."""
    query = select(func.count()).where(
        messages.c.account == account,
        messages.c.customer_id == customer_id,
        messages.c.at >= since,
        messages.c.state.in_(SAID),
    )
    warned = renewals.said_to_customer(connection, account, customer_id, since=since)
    return int(connection.execute(query).scalar_one()) + warned


def counts(connection: Connection) -> list[tuple[str, str, int]]:
    """(kind, state, how many) of all messages."""
    query = select(messages.c.kind, messages.c.state, func.count()).group_by(
        messages.c.kind, messages.c.state
    )
    return [(kind, state, count) for kind, state, count in connection.execute(query)]


def by_message_id(connection: Connection, message_id: str) -> Row[Any] | None:
    """The message with that id."""
    query = select(messages).where(messages.c.message_id == message_id)
    return connection.execute(query).first()


def suppression_of(connection: Connection, account: str, address_hash: str) -> str | None:
    """Why that address is not to be written to."""
    query = select(suppressions.c.reason).where(
        suppressions.c.account == account, suppressions.c.address_hash == address_hash
    )
    return connection.execute(query).scalar()


def suppress(
    connection: Connection,
    account: str,
    address_hash: str,
    *,
    reason: str,
    by: str,
    at: datetime,
    note: str | None = None,
) -> None:
    """Never write to that address again. The first reason stands, each further one is kept."""
    if reason not in standing_reasons(connection, account, address_hash):
        connection.execute(
            suppression_acts.insert().values(
                account=account,
                address_hash=address_hash,
                act="suppressed",
                reason=reason,
                by=by,
                note=note,
                at=at,
            )
        )
    connection.execute(
        insert(suppressions)
        .values(account=account, address_hash=address_hash, reason=reason, at=at)
        .on_conflict_do_nothing()
    )


def lift(
    connection: Connection, account: str, address_hash: str, *, by: str, note: str, at: datetime
) -> bool:
    """It may be written to again; False where it always could be."""
    gone = connection.execute(
        delete(suppressions).where(
            suppressions.c.account == account, suppressions.c.address_hash == address_hash
        )
    )
    if gone.rowcount == 0:
        return False
    connection.execute(
        suppression_acts.insert().values(
            account=account, address_hash=address_hash, act="lifted", by=by, note=note, at=at
        )
    )
    return True


def suppression_acts_of(
    connection: Connection, account: str, address_hash: str
) -> Sequence[Row[Any]]:
    """All that was said about writing to that address, oldest first."""
    query = select(suppression_acts).where(
        suppression_acts.c.account == account, suppression_acts.c.address_hash == address_hash
    )
    return connection.execute(query.order_by(suppression_acts.c.id)).all()


def standing_reasons(connection: Connection, account: str, address_hash: str) -> list[str]:
    """Every reason given since the last time that it was lifted."""
    found: list[str] = []
    for act in suppression_acts_of(connection, account, address_hash):
        found = [] if act.act == "lifted" else [*found, act.reason]
    return found


def suppressed(connection: Connection) -> dict[str, int]:
    """How many addresses are not written to, by reason."""
    query = select(suppressions.c.reason, func.count()).group_by(suppressions.c.reason)
    return {row[0]: row[1] for row in connection.execute(query)}


def link_key(connection: Connection) -> bytes:
    """What links are signed with where no secret is set."""
    return bytes(connection.execute(select(engine_state.c.link_key)).scalar_one())


def address_key(connection: Connection) -> bytes:
    """What addresses are hashed with; another one would forget who wants no messages."""
    return bytes(connection.execute(select(engine_state.c.address_key)).scalar_one())


def visited(connection: Connection, message_id: str, *, at: datetime) -> bool:
    """Its link was followed; whether for the first time."""
    found = connection.execute(
        update(messages)
        .where(messages.c.message_id == message_id, messages.c.visited_at.is_(None))
        .values(visited_at=at)
    )
    return found.rowcount == 1
