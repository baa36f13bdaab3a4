"""Stripe's events as they came: stored once, handled until they are done or visibly dead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from retry_engine.domain.errors import NotFound
from retry_engine.store.tables import inbox

# A failure of ours or of the event's: given up, visibly, after this many tries (about 20 minutes).
MAX_TRIES = 8
_LONGEST_WAIT = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """One event; `payload` is Stripe's body, of whatever API version."""

    id: str
    event_id: str
    account: str
    type: str
    object_id: str | None
    payload: Mapping[str, Any]
    received_at: datetime
    tries: int


def store(connection: Connection, event: Mapping[str, Any]) -> str | None:
    """Store one event; its row's id, or None where it was there already."""
    account = event.get("account") or ""
    statement = insert(inbox).values(
        id=f"{account}:{event['id']}",
        event_id=event["id"],
        account=account,
        type=event["type"],
        object_id=((event.get("data") or {}).get("object") or {}).get("id"),
        api_version=event.get("api_version"),
        livemode=event.get("livemode"),
        payload=event,
    )
    return connection.execute(statement.on_conflict_do_nothing().returning(inbox.c.id)).scalar()


def claim(
    connection: Connection, ids: Sequence[str], *, now: datetime, lease: timedelta
) -> list[StoredEvent]:
    """Those of `ids` that are still to be handled and that nobody else is handling."""
    free = (
        select(inbox.c.id)
        .where(inbox.c.id.in_(ids), inbox.c.state == "pending")
        .where((inbox.c.claimed_until.is_(None)) | (inbox.c.claimed_until < now))
        .with_for_update(skip_locked=True)
    )
    statement = (
        update(inbox)
        .where(inbox.c.id.in_(free))
        .values(claimed_until=now + lease, tries=inbox.c.tries + 1)
        .returning(
            inbox.c.id,
            inbox.c.event_id,
            inbox.c.account,
            inbox.c.type,
            inbox.c.object_id,
            inbox.c.payload,
            inbox.c.received_at,
            inbox.c.tries,
        )
    )
    rows = connection.execute(statement).mappings()
    return sorted((StoredEvent(**row) for row in rows), key=lambda e: e.received_at)


def waiting(connection: Connection, *, now: datetime, limit: int) -> list[str]:
    """Ids of what is due to be handled and held by nobody: what a broker may have lost."""
    statement = (
        select(inbox.c.id)
        .where(inbox.c.state == "pending", inbox.c.next_try_at <= now)
        .where((inbox.c.claimed_until.is_(None)) | (inbox.c.claimed_until < now))
        .order_by(inbox.c.next_try_at)
        .limit(limit)
    )
    return list(connection.execute(statement).scalars())


def finish(connection: Connection, event_id: str, *, now: datetime) -> None:
    """Handled: in the same transaction as what the event changed."""
    connection.execute(
        update(inbox)
        .where(inbox.c.id == event_id)
        .values(state="done", processed_at=now, claimed_until=None, last_error=None)
    )


def fail(
    connection: Connection,
    event: StoredEvent,
    *,
    error: str,
    now: datetime,
    transient: bool,
    hopeless: bool = False,
) -> str:
    """Put it back with a growing wait, or among the dead. Returns the new state.

    What is the outside world's fault (`transient`) never kills an event: Stripe may be away for
    longer than any number of tries. What no further try can change (`hopeless`) does at once.
    """
    dead = hopeless or (not transient and event.tries >= MAX_TRIES)
    wait = min(timedelta(seconds=2 ** min(event.tries, 9)), _LONGEST_WAIT)
    state = "dead" if dead else "pending"
    connection.execute(
        update(inbox)
        .where(inbox.c.id == event.id, inbox.c.state == "pending")
        .values(state=state, last_error=error[:2000], next_try_at=now + wait, claimed_until=None)
    )
    return state


def replay(connection: Connection, event_id: str, *, now: datetime) -> list[str]:
    """Put dead events of that id (Stripe's or the row's) back. Returns the rows' ids.

    Raises:
        NotFound: no dead event has that id.
    """
    statement = (
        update(inbox)
        .where((inbox.c.id == event_id) | (inbox.c.event_id == event_id), inbox.c.state == "dead")
        .values(state="pending", tries=0, next_try_at=now, claimed_until=None)
        .returning(inbox.c.id)
    )
    ids = list(connection.execute(statement).scalars())
    if not ids:
        raise NotFound(f"no dead event {event_id!r}; `retry-engine events dead` lists them")
    return ids


def dead(connection: Connection, *, limit: int = 200) -> list[dict[str, Any]]:
    """The events that were given up, newest first."""
    statement = (
        select(
            inbox.c.event_id,
            inbox.c.account,
            inbox.c.type,
            inbox.c.object_id,
            inbox.c.received_at,
            inbox.c.tries,
            inbox.c.last_error,
        )
        .where(inbox.c.state == "dead")
        .order_by(inbox.c.received_at.desc())
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]


def counts(connection: Connection) -> dict[str, int]:
    """How many are pending and dead."""
    statement = (
        select(inbox.c.state, func.count())
        .where(inbox.c.state.in_(("pending", "dead")))
        .group_by(inbox.c.state)
    )
    found = {row[0]: row[1] for row in connection.execute(statement)}
    return {"pending": found.get("pending", 0), "dead": found.get("dead", 0)}


def origins_of(connection: Connection, object_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """For objects (charges): `request` of the events about them: who caused them.

    `{"id": null}` means Stripe itself; an idempotency key is that of the API call that did it.
    """
    if not object_ids:
        return {}
    statement = (
        select(inbox.c.object_id, inbox.c.payload["request"])
        .where(inbox.c.object_id.in_(object_ids), inbox.c.type.like("charge.%"))
        .order_by(inbox.c.received_at.desc())
    )
    return {object_id: request or {} for object_id, request in connection.execute(statement)}


def forget(connection: Connection, *, before: datetime, limit: int = 5000) -> int:
    """Delete handled events older than `before`; the dead stay."""
    result = connection.execute(
        text(
            "delete from inbox where id in (select id from inbox where state = 'done'"
            " and received_at < :before limit :limit)"
        ),
        {"before": before, "limit": limit},
    )
    return int(result.rowcount)
