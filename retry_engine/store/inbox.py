"""Stripe's events as they came: stored once, handled until they are done or visibly dead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from retry_engine.domain.errors import NotFound
from retry_engine.store.tables import breakers, inbox

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
    livemode: bool | None
    tries: int
    failures: int


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
        .where(inbox.c.account.not_in(_shut(now)))
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
            inbox.c.livemode,
            inbox.c.tries,
            inbox.c.failures,
        )
    )
    rows = connection.execute(statement).mappings()
    return sorted((StoredEvent(**row) for row in rows), key=lambda e: e.received_at)


def _shut(now: datetime) -> Select[tuple[str]]:
    """The accounts that are not to be asked now."""
    return select(breakers.c.account).where(breakers.c.next_probe_at > now)


# Each account in its turn, as in the schedule; of one that did not answer, one event to ask with.
_WAITING = text(
    """
    with recursive heads as (
      (select account, next_try_at from inbox where state = 'pending'
         order by account, next_try_at limit 1)
      union all
      select next.account, next.next_try_at from heads cross join lateral (
        select i.account, i.next_try_at from inbox i
          where i.state = 'pending' and i.account > heads.account
          order by i.account, i.next_try_at limit 1) next
    ), shut as (
      select account, bool_or(next_probe_at > :now) as blocked
        from breakers where next_probe_at is not null group by account
    ), turns as (
      select heads.account, case when shut.account is null
          then ceil(cast(:limit as numeric) / count(*) over ()) else 1 end as share
        from heads left join shut on shut.account = heads.account
        where heads.next_try_at <= :now and shut.blocked is not true
    )
    select found.id from turns cross join lateral (
      select i.id, i.next_try_at from inbox i
        where i.state = 'pending' and i.account = turns.account and i.next_try_at <= :now
          and (i.claimed_until is null or i.claimed_until < :now)
        order by i.next_try_at limit turns.share) found
      order by found.next_try_at limit :limit
    """
)


def waiting(connection: Connection, *, now: datetime, limit: int) -> list[str]:
    """Ids of what is due to be handled and held by nobody: what a broker may have lost."""
    return list(connection.execute(_WAITING, {"now": now, "limit": limit}).scalars())


def release(connection: Connection, events: Sequence[StoredEvent]) -> None:
    """Back among the pending, untouched."""
    connection.execute(
        update(inbox)
        .where(inbox.c.id.in_([event.id for event in events]), inbox.c.state == "pending")
        .values(claimed_until=None, tries=inbox.c.tries - 1)
    )


def put_aside(connection: Connection, event_id: str, *, why: str, now: datetime) -> None:
    """Not ours to handle, and kept for whoever asks; `replay` brings it back."""
    connection.execute(
        update(inbox)
        .where(inbox.c.id == event_id, inbox.c.state == "pending")
        .values(state="aside", last_error=why, processed_at=now, claimed_until=None)
    )


def give_up(connection: Connection, account: str, *, error: str) -> int:
    """All that waits of an account ends among the dead; how many that were."""
    statement = (
        update(inbox)
        .where(inbox.c.account == account, inbox.c.state == "pending")
        .values(state="dead", last_error=error[:2000], claimed_until=None)
    )
    return int(connection.execute(statement).rowcount)


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
    failures = event.failures + (0 if transient else 1)
    dead = hopeless or failures >= MAX_TRIES
    wait = min(timedelta(seconds=2 ** min(event.tries, 9)), _LONGEST_WAIT)
    state = "dead" if dead else "pending"
    connection.execute(
        update(inbox)
        .where(inbox.c.id == event.id, inbox.c.state == "pending")
        .values(
            state=state,
            failures=failures,
            last_error=error[:2000],
            next_try_at=now + wait,
            claimed_until=None,
        )
    )
    return state


def replay(connection: Connection, event_id: str, *, now: datetime) -> list[str]:
    """Put events of that id (Stripe's or the row's), or all of that account (`acct_…`), back.

    What is dead or was put aside gets another life. Returns the rows' ids.

    Raises:
        NotFound: no such event has that id.
    """
    statement = (
        update(inbox)
        .where(or_(*(c == event_id for c in (inbox.c.id, inbox.c.event_id, inbox.c.account))))
        .where(inbox.c.state.in_(("dead", "aside")))
        .values(state="pending", tries=0, failures=0, next_try_at=now, claimed_until=None)
        .returning(inbox.c.id)
    )
    ids = list(connection.execute(statement).scalars()) if event_id else []
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
    """How many are pending, dead, and put aside."""
    statement = (
        select(inbox.c.state, func.count())
        .where(inbox.c.state.in_(("pending", "dead", "aside")))
        .group_by(inbox.c.state)
    )
    found = {row[0]: row[1] for row in connection.execute(statement)}
    return {state: found.get(state, 0) for state in ("pending", "dead", "aside")}


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
            "delete from inbox where id in (select id from inbox where state in ('done', 'aside')"
            " and received_at < :before limit :limit)"
        ),
        {"before": before, "limit": limit},
    )
    return int(result.rowcount)
