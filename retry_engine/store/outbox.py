"""What the host application is told: stored with what it tells of, kept until it is delivered."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, select, text, update

from retry_engine.domain.vocabulary import OutboundState, OutboundType
from retry_engine.store.prepared import Prepared
from retry_engine.store.tables import outbound_door as door
from retry_engine.store.tables import outbox
from retry_engine.store.typed_rows import Reader

_WANTED = Prepared("select wanted from outbound_door")
_ADD = Prepared(
    """
    insert into outbox (id, type, account, case_id, created, body, since, next_try_at)
      values (%(id)s, %(type)s, %(account)s, %(case_id)s, %(created)s, %(body)s, %(now)s, %(now)s)
      on conflict (id) do nothing
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One event that is ours to deliver for the length of a lease."""

    id: str
    type: OutboundType
    body: str
    since: datetime
    tries: int


_READER = Reader(Outgoing)


def is_wanted(connection: Connection) -> bool:
    """Whether anybody is to be told anything."""
    return bool(_WANTED.run(connection).scalar())  # none where nothing was ever set


def set_wanted(connection: Connection, wanted: bool) -> None:
    """Whether there is an address: the workers say so when they begin."""
    connection.execute(update(door).where(door.c.wanted != wanted).values(wanted=wanted))


def add(
    connection: Connection,
    *,
    id: str,  # noqa: A002  # the event's field
    type: OutboundType,  # noqa: A002
    account: str,
    case_id: str,
    created: datetime,
    body: str,
    now: datetime,
) -> None:
    """Keep it for delivery, unless the same thing was told before."""
    _ADD.run(
        connection,
        id=id,
        type=type,
        account=account,
        case_id=case_id,
        created=created,
        body=body,
        now=now,
    )


# -- delivery

_DUE = text(
    "select exists (select from outbox where state = 'pending' and next_try_at <= :now"
    " and (claimed_until is null or claimed_until <= :now))"
)
# Whoever comes second finds the row changed, and the door closed.
_ENTER = text(
    "update outbound_door set claimed_until = :until"
    " where (claimed_until is null or claimed_until <= :now)"
    " and (opens_at is null or opens_at <= :now) returning id"
)
_CLAIM = text(
    """
    update outbox set claimed_until = :until
      where id in (select id from outbox
                     where state = 'pending' and next_try_at <= :now
                       and (claimed_until is null or claimed_until <= :now)
                     order by next_try_at limit :limit for update skip locked)
      returning id
    """
)


def claim(connection: Connection, *, now: datetime, lease: timedelta, limit: int) -> list[str]:
    """Ids of what is due, for one call of the receiver; none while another is under way."""
    if not connection.execute(_DUE, {"now": now}).scalar():
        return []
    times = {"now": now, "until": now + lease}
    if connection.execute(_ENTER, times).first() is None:
        return []
    return list(connection.execute(_CLAIM, {**times, "limit": limit}).scalars())


def take(
    connection: Connection, ids: Sequence[str], *, now: datetime, lease: timedelta
) -> list[Outgoing]:
    """Those of the claimed that still are to be delivered; the lease begins anew."""
    statement = (
        update(outbox)
        .where(outbox.c.id.in_(ids), outbox.c.state == OutboundState.PENDING)
        .where(outbox.c.claimed_until > now)
        .values(claimed_until=now + lease, tries=outbox.c.tries + 1)
        .returning(*_READER.columns(outbox))
    )
    taken = _READER.all(connection.execute(statement))
    if taken:
        connection.execute(update(door).values(claimed_until=now + lease))
    return sorted(taken, key=lambda event: (event.since, event.id))


def delivered(connection: Connection, event_id: str, *, now: datetime) -> None:
    """The receiver has it."""
    done = connection.execute(
        update(outbox)
        .where(outbox.c.id == event_id, outbox.c.state == OutboundState.PENDING)
        .values(state=OutboundState.DELIVERED, finished_at=now, claimed_until=None, last_error=None)
    )
    if done.rowcount:
        connection.execute(
            update(door).values(delivered=door.c.delivered + 1, last_delivered_at=now)
        )


def failed(
    connection: Connection,
    event_id: str,
    *,
    error: str,
    next_try_at: datetime | None,
    now: datetime,
) -> None:
    """Not delivered: tried again then, or given up where there is no such time."""
    later = {"next_try_at": next_try_at}
    ended = {"state": OutboundState.DEAD, "finished_at": now}
    connection.execute(
        update(outbox)
        .where(outbox.c.id == event_id, outbox.c.state == OutboundState.PENDING)
        .values(last_error=error[:500], claimed_until=None, **(later if next_try_at else ended))
    )


def leave(connection: Connection, *, error: str | None, opens_at: datetime | None) -> None:
    """The call is over; `opens_at`: nobody answered, and it is asked again then."""
    silences = 0 if opens_at is None else door.c.silences + 1
    connection.execute(
        update(door).values(
            claimed_until=None, opens_at=opens_at, silences=silences, last_error=error
        )
    )


def silences(connection: Connection) -> int:
    """How often the receiver has not answered since it last did."""
    return int(connection.execute(select(door.c.silences)).scalar() or 0)


# -- looking, and keeping in order


def replay(connection: Connection, event_id: str, *, now: datetime) -> bool:
    """Give one that was given up its days again; False where there is none of that id."""
    statement = (
        update(outbox)
        .where(outbox.c.id == event_id, outbox.c.state == OutboundState.DEAD)
        .values(state=OutboundState.PENDING, since=now, next_try_at=now, tries=0, finished_at=None)
    )
    return bool(connection.execute(statement).rowcount)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRow:
    """One that was given up."""

    id: str
    type: OutboundType
    account: str
    case_id: str
    since: datetime
    tries: int
    last_error: str | None


_DEAD = Reader(DeadRow)


def dead(connection: Connection, *, limit: int = 200) -> list[DeadRow]:
    """Those that were given up, newest first."""
    statement = (
        select(*_DEAD.columns(outbox))
        .where(outbox.c.state == OutboundState.DEAD)
        .order_by(outbox.c.finished_at.desc())
        .limit(limit)
    )
    return _DEAD.all(connection.execute(statement))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How it stands with the door and with what goes through it."""

    wanted: bool
    pending: int
    dead: int
    delivered: int
    silences: int
    oldest: datetime | None
    last_delivered_at: datetime | None
    last_error: str | None


def counts(connection: Connection) -> Counts:
    """By what waits and what is dead: what was delivered is counted as it goes out."""

    def of(state: OutboundState, what: Any) -> Any:
        return select(what).where(outbox.c.state == state).scalar_subquery()

    names = ("wanted", "delivered", "silences", "last_delivered_at", "last_error")
    row = connection.execute(
        select(
            *(door.c[name] for name in names),
            of(OutboundState.PENDING, func.count()).label("pending"),
            of(OutboundState.PENDING, func.min(outbox.c.since)).label("oldest"),
            of(OutboundState.DEAD, func.count()).label("dead"),
        )
    )
    return Counts(**row.mappings().one())


def give_up(connection: Connection, before: datetime, *, untried: bool, now: datetime) -> int:
    """Give up what was tried in vain since before then, and on demand what was never tried."""
    statement = (
        update(outbox)
        .where(outbox.c.state == OutboundState.PENDING, outbox.c.since <= before)
        .where(outbox.c.tries >= (0 if untried else 1))
        .where(outbox.c.claimed_until.is_(None) | (outbox.c.claimed_until <= now))
        .values(state=OutboundState.DEAD, finished_at=now, claimed_until=None)
    )
    return int(connection.execute(statement).rowcount)


_MOST_AT_ONCE = 5000


def forget(connection: Connection, state: OutboundState, *, before: datetime) -> int:
    """Delete what came to that end before then; how many."""
    old = (
        select(outbox.c.id)
        .where(outbox.c.state == state, outbox.c.finished_at < before)
        .limit(_MOST_AT_ONCE)
    )
    return int(connection.execute(delete(outbox).where(outbox.c.id.in_(old))).rowcount)
