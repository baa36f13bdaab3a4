"""The outbox: what was said to whom, and who is not to be written to.

A row is written before anything is sent; nothing is sent twice for one row. A letter about several
invoices is a row for each of their cases. That of the case it was due for is the letter; the others
were `said_in` it, share what becomes of it, and are none of their own where letters are counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from retry_engine.domain.vocabulary import (
    MessageKind,
    MessageState,
    SuppressionAct,
    SuppressionReason,
)
from retry_engine.store import renewals
from retry_engine.store.tables import engine_state, messages, suppression_acts, suppressions
from retry_engine.store.typed_rows import Reader

# A message of these states counts as said; of `unknown` nobody knows, so it counts too.
SAID = (
    MessageState.SENDING,
    MessageState.SENT,
    MessageState.UNKNOWN,
    MessageState.BOUNCED,
    MessageState.SHADOW,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """A message's row; `begun_at` is real time, `said_in` the letter that it was part of."""

    id: int
    case_id: str
    action_id: int | None
    said_in: int | None
    account: str
    customer_id: str
    kind: MessageKind
    channel: str
    language: str | None
    state: MessageState
    at: datetime
    begun_at: datetime
    message_id: str | None
    address_hash: str | None
    decision_id: int | None
    error: str | None
    visited_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageOfCase(MessageRow):
    """With the case in whose letter it was said, where that was another's."""

    letter_of: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SuppressionActRow:
    """What was said about writing to an address, and by whom."""

    id: int
    act: SuppressionAct
    reason: SuppressionReason | None
    by: str
    note: str | None
    at: datetime


_READER = Reader(MessageRow)
_COLUMNS = _READER.columns(messages)
_OF_CASE = Reader(MessageOfCase)
_ACT = Reader(SuppressionActRow)


def begin(connection: Connection, **values: Any) -> int:
    """The intent; its id. The database refuses it where nobody may be written to."""
    inserted = connection.execute(messages.insert().values(**values).returning(messages.c.id))
    return int(inserted.scalar_one())


def lock_customer(connection: Connection, account: str, customer_id: str) -> None:
    """One transaction at a time commits a letter to that customer, whichever invoice it is due for.

    Taken before any case's row is locked, and by nobody who holds one.
    """
    query = text("select pg_advisory_xact_lock(hashtextextended(:account || '/' || :customer, 11))")
    connection.execute(query, {"account": account, "customer": customer_id})


def of_action(connection: Connection, action_id: int) -> MessageRow | None:
    """What that action has begun to send."""
    query = select(*_COLUMNS).where(messages.c.action_id == action_id)
    return _READER.first(connection.execute(query))


def of_decision(connection: Connection, case_id: str, decision_id: int | None) -> str | None:
    """In which state what that decision wanted to say to the case's customer has been said.

    None where it has not been, or nothing has left.
    """
    if decision_id is None:
        return None
    query = select(messages.c.state).where(
        messages.c.case_id == case_id,
        messages.c.decision_id == decision_id,
        messages.c.state.in_(SAID),
    )
    return connection.execute(query.order_by(messages.c.id.desc()).limit(1)).scalar()


def finish(connection: Connection, action_id: int, *, state: str, error: str | None = None) -> None:
    """What became of the letter, and so of all that was said in it."""
    letter = select(messages.c.id).where(messages.c.action_id == action_id).scalar_subquery()
    connection.execute(
        update(messages)
        .where((messages.c.id == letter) | (messages.c.said_in == letter))
        .where(messages.c.state == MessageState.SENDING)
        .values(state=state, error=error[:500] if error else None)
    )


def in_letter(connection: Connection, action_id: int) -> list[MessageRow]:
    """What the action's letter said, of each case that it was about."""
    letter = select(messages.c.id).where(messages.c.action_id == action_id).scalar_subquery()
    query = select(*_COLUMNS).where((messages.c.id == letter) | (messages.c.said_in == letter))
    return _READER.all(connection.execute(query.order_by(messages.c.id)))


def also_about(connection: Connection, action_id: int) -> Sequence[str]:
    """The other cases that the action's letter was about."""
    letter = select(messages.c.id).where(messages.c.action_id == action_id).scalar_subquery()
    query = select(messages.c.case_id).where(messages.c.said_in == letter)
    return connection.execute(query.order_by(messages.c.case_id)).scalars().all()


def of_case(connection: Connection, case_id: str) -> Sequence[MessageOfCase]:
    """All messages of a case, oldest first; `letter_of` is the case in whose letter it was said."""
    letter = messages.alias()
    query = (
        select(*_COLUMNS, letter.c.case_id.label("letter_of"))
        .outerjoin(letter, letter.c.id == messages.c.said_in)
        .where(messages.c.case_id == case_id)
    )
    return _OF_CASE.all(connection.execute(query.order_by(messages.c.at, messages.c.id)))


def said_to_customer(
    connection: Connection, account: str, customer_id: str, *, since: datetime
) -> int:
    """How many letters the customer got about any invoice, or before one."""
    query = select(func.count()).where(
        messages.c.account == account,
        messages.c.customer_id == customer_id,
        messages.c.said_in.is_(None),
        messages.c.at >= since,
        messages.c.state.in_(SAID),
    )
    warned = renewals.said_to_customer(connection, account, customer_id, since=since)
    return int(connection.execute(query).scalar_one()) + warned


def last_to_customer(connection: Connection, account: str, customer_id: str) -> datetime | None:
    """When the customer got the last letter about any invoice, by their own clock."""
    query = select(func.max(messages.c.at)).where(
        messages.c.account == account,
        messages.c.customer_id == customer_id,
        messages.c.state.in_(SAID),
    )
    return connection.execute(query).scalar()


def counts(connection: Connection) -> list[tuple[str, str, int]]:
    """(kind, state, how many) of all letters."""
    query = (
        select(messages.c.kind, messages.c.state, func.count())
        .where(messages.c.said_in.is_(None))
        .group_by(messages.c.kind, messages.c.state)
    )
    return [(kind, state, count) for kind, state, count in connection.execute(query)]


def by_message_id(connection: Connection, message_id: str) -> MessageRow | None:
    """The message with that id."""
    query = select(*_COLUMNS).where(messages.c.message_id == message_id)
    return _READER.first(connection.execute(query))


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
                act=SuppressionAct.SUPPRESSED,
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
            account=account,
            address_hash=address_hash,
            act=SuppressionAct.LIFTED,
            by=by,
            note=note,
            at=at,
        )
    )
    return True


def suppression_acts_of(
    connection: Connection, account: str, address_hash: str
) -> Sequence[SuppressionActRow]:
    """All that was said about writing to that address, oldest first."""
    query = select(*_ACT.columns(suppression_acts)).where(
        suppression_acts.c.account == account, suppression_acts.c.address_hash == address_hash
    )
    return _ACT.all(connection.execute(query.order_by(suppression_acts.c.id)))


def standing_reasons(connection: Connection, account: str, address_hash: str) -> list[str]:
    """Every reason given since the last time that it was lifted."""
    found: list[str] = []
    for act in suppression_acts_of(connection, account, address_hash):
        if act.act is SuppressionAct.LIFTED or act.reason is None:
            found = []
        else:
            found.append(act.reason)
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
