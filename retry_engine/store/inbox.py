"""Stripe's events as they came: stored once, handled until they are done or visibly dead."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, Text, cast, or_, select, text, update
from sqlalchemy.exc import DBAPIError

from retry_engine.domain import strict_json
from retry_engine.domain.errors import InvalidInput, NotFound
from retry_engine.domain.vocabulary import EventState
from retry_engine.store.tables import breakers, inbox

# A failure of ours or of the event's: given up, visibly, after this many tries (about 20 minutes).
MAX_TRIES = 8
_LONGEST_WAIT = timedelta(minutes=5)
# What an index can hold; Stripe's ids are shorter.
LONGEST_ID = 500


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One row that is ours to handle for the length of a lease; not read yet."""

    id: str
    event_id: str
    account: str
    type: str
    object_id: str | None
    received_at: datetime
    livemode: bool | None
    tries: int
    failures: int


_COLUMNS = "(id, event_id, account, type, object_id, api_version, livemode, payload)"
_ROW = "(%s, %s, %s, %s, %s, %s, %s, %s)"


def store(connection: Connection, *events: Mapping[str, Any]) -> list[str]:
    """Store events in one statement; the rows' ids of those that were not there already.

    Events come from Stripe through here and nowhere else.
    """
    rows = {row[0]: row for row in map(_row_of, events)}
    found = connection.exec_driver_sql(
        f"insert into inbox {_COLUMNS} values {', '.join([_ROW] * len(rows))}"  # noqa: S608  # constants
        " on conflict do nothing returning id",
        tuple(value for row in rows.values() for value in row),
    )
    return list(found.scalars())


def _row_of(event: Mapping[str, Any]) -> tuple[Any, ...]:
    account, data = event.get("account") or "", event.get("data")
    concerned = data.get("object") if isinstance(data, dict) else None
    object_id = concerned.get("id") if isinstance(concerned, dict) else None
    livemode, version = event.get("livemode"), event.get("api_version")
    return (
        f"{account}:{event['id']}",
        event["id"],
        account,
        event["type"],
        object_id if isinstance(object_id, str) and len(object_id) <= LONGEST_ID else None,
        version if isinstance(version, str) else None,
        livemode if isinstance(livemode, bool) else None,
        json.dumps(event, allow_nan=False),
    )


def claim(
    connection: Connection, ids: Sequence[str], *, now: datetime, lease: timedelta
) -> list[Claim]:
    """Those of `ids` that are still to be handled and that nobody else is handling.

    Their contents are read afterwards, one by one: what cannot be read has used up a try, and
    holds up nobody else.
    """
    free = (
        select(inbox.c.id)
        .where(inbox.c.id.in_(ids), inbox.c.state == EventState.PENDING)
        .where((inbox.c.claimed_until.is_(None)) | (inbox.c.claimed_until < now))
        .where(inbox.c.account.not_in(_shut(now)))
        .with_for_update(skip_locked=True)
    )
    statement = (
        update(inbox)
        .where(inbox.c.id.in_(free))
        .values(claimed_until=now + lease, tries=inbox.c.tries + 1)
        .returning(*(inbox.c[f.name] for f in fields(Claim)))
    )
    rows = connection.execute(statement).mappings()
    return sorted((Claim(**row) for row in rows), key=lambda e: e.received_at)


def is_about_content(error: DBAPIError) -> bool:
    """Whether the database's refusal is about what was given or asked for, and not about itself.

    SQLSTATE classes 22 (data exception) and 54 (program limit exceeded).
    """
    return (getattr(error.orig, "sqlstate", None) or "")[:2] in ("22", "54")


def read(connection: Connection, claimed: Claim) -> StoredEvent:
    """The event with what Stripe said.

    Raises:
        InvalidInput: it cannot be read, today or ever.
    """
    statement = select(cast(inbox.c.payload, Text)).where(inbox.c.id == claimed.id)
    try:
        payload = strict_json.parse(connection.execute(statement).scalar_one())
    except strict_json.NotStrict as error:
        raise InvalidInput(f"the stored event cannot be read: {error}") from None
    except DBAPIError as error:
        if not is_about_content(error):
            raise
        raise InvalidInput("the stored event is more than the database can give back") from None
    if not isinstance(payload, dict):
        raise InvalidInput("the stored event cannot be read: it is no JSON object")
    return StoredEvent(payload=payload, **asdict(claimed))


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
    ), silent as (
      select account, bool_or(next_probe_at > :now) as blocked
        from breakers where next_probe_at is not null group by account
    ), turns as (
      select heads.account, case when silent.account is null
          then ceil(cast(:limit as numeric) / count(*) over ()) else 1 end as share
        from heads left join silent on silent.account = heads.account
        where heads.next_try_at <= :now and silent.blocked is not true
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


def release(connection: Connection, events: Sequence[Claim]) -> None:
    """Back among the pending, untouched."""
    connection.execute(
        update(inbox)
        .where(inbox.c.id.in_([event.id for event in events]), inbox.c.state == EventState.PENDING)
        .values(claimed_until=None, tries=inbox.c.tries - 1)
    )


def put_aside(connection: Connection, event_id: str, *, why: str, now: datetime) -> None:
    """Not ours to handle, and kept for whoever asks; `replay` brings it back."""
    connection.execute(
        update(inbox)
        .where(inbox.c.id == event_id, inbox.c.state == EventState.PENDING)
        .values(state=EventState.ASIDE, last_error=why, processed_at=now, claimed_until=None)
    )


def give_up(connection: Connection, account: str, *, error: str) -> int:
    """All that waits of an account ends among the dead; how many that were."""
    statement = (
        update(inbox)
        .where(inbox.c.account == account, inbox.c.state == EventState.PENDING)
        .values(state=EventState.DEAD, last_error=error[:2000], claimed_until=None)
    )
    return int(connection.execute(statement).rowcount)


def finish(connection: Connection, event_id: str, *, now: datetime) -> None:
    """Handled: in the same transaction as what the event changed."""
    connection.execute(
        update(inbox)
        .where(inbox.c.id == event_id)
        .values(state=EventState.DONE, processed_at=now, claimed_until=None, last_error=None)
    )


def fail(
    connection: Connection,
    event: Claim,
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
    state = EventState.DEAD if dead else EventState.PENDING
    connection.execute(
        update(inbox)
        .where(inbox.c.id == event.id, inbox.c.state == EventState.PENDING)
        .values(
            state=state,
            failures=failures,
            last_error=error[:2000],
            next_try_at=now + wait,
            claimed_until=None,
        )
    )
    return state


def replay(
    connection: Connection, event_id: str, *, now: datetime, or_none: bool = False
) -> list[str]:
    """Put events of that id (Stripe's or the row's), or all of that account (`acct_…`), back.

    What is dead or was put aside gets another life. Returns the rows' ids.

    Raises:
        NotFound: no such event has that id, and `or_none` does not say that this is fine.
    """
    statement = (
        update(inbox)
        .where(or_(*(c == event_id for c in (inbox.c.id, inbox.c.event_id, inbox.c.account))))
        .where(inbox.c.state.in_((EventState.DEAD, EventState.ASIDE)))
        .values(state=EventState.PENDING, tries=0, failures=0, next_try_at=now, claimed_until=None)
        .returning(inbox.c.id)
    )
    ids = list(connection.execute(statement).scalars()) if event_id else []
    if not ids and not or_none:
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
        .where(inbox.c.state == EventState.DEAD)
        .order_by(inbox.c.received_at.desc())
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]


_COUNTS = text(
    # one partial index each: their cost is that of what waits, not of what was ever handled
    "select (select count(*) from inbox where state = 'pending') as pending,"
    " (select count(*) from inbox where state = 'dead') as dead,"
    " (select count(*) from inbox where state = 'aside') as aside"
)


def counts(connection: Connection) -> dict[str, int]:
    """How many are pending, dead, and put aside."""
    row = connection.execute(_COUNTS).one()
    return {"pending": row.pending, "dead": row.dead, "aside": row.aside}


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


_FORGET = text(
    "delete from inbox where id in (select id from inbox where state in ('done', 'aside')"
    " and processed_at < :before order by processed_at limit :limit)"
)

# It may still be replayed: what it is about stays, by Stripe's ids and nothing else.
_STRIP = text(
    """
    update inbox set stripped_at = :now, payload = jsonb_build_object(
        'id', event_id, 'object', 'event', 'type', type, 'account', nullif(account, ''),
        'data', jsonb_build_object('object', jsonb_build_object('id', object_id)))
      where id in (select id from inbox
                   where state = 'dead' and stripped_at is null
                     and received_at < :before order by received_at limit :limit)
    """
)
_MOST_AT_ONCE = 5000


def forget(connection: Connection, *, before: datetime) -> int:
    """Delete what was handled, or put aside, before that; how many."""
    result = connection.execute(_FORGET, {"before": before, "limit": _MOST_AT_ONCE})
    return int(result.rowcount)


def strip_dead(connection: Connection, *, before: datetime, now: datetime) -> int:
    """Take all but Stripe's ids out of dead events that came before that; how many."""
    result = connection.execute(_STRIP, {"before": before, "now": now, "limit": _MOST_AT_ONCE})
    return int(result.rowcount)
