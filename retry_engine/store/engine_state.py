"""The one switch for everything, the policies in use, and Stripe's limits shared by all workers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.postgresql import insert

from retry_engine.domain.errors import BadRequest
from retry_engine.store.prepared import Prepared
from retry_engine.store.tables import acts as recorded
from retry_engine.store.tables import engine_state, policies
from retry_engine.store.typed_rows import Reader

_A_CURSOR = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """Whether money may move at all, and who said so."""

    paused: bool
    reason: str | None
    by: str | None
    at: datetime | None


def read(connection: Connection) -> EngineState:
    """The switch as it stands."""
    columns = (engine_state.c.paused, engine_state.c.reason, engine_state.c.by, engine_state.c.at)
    return EngineState(**connection.execute(select(*columns)).mappings().one())


# One statement: the switch and who turned it, before which state, are kept together or not at all.
_SWITCH = text(
    """
    with before as (select paused, reason, by from engine_state), switched as (
      update engine_state set paused = :paused, reason = :reason, by = :by, at = :at
    )
    insert into acts (at, by, action, subject, reason, before, after)
      select :at, :by, case when :paused then 'pause' else 'resume' end, 'engine', :reason,
        jsonb_build_object('paused', before.paused, 'reason', before.reason, 'by', before.by),
        jsonb_build_object('paused', cast(:paused as boolean))
      from before
    """
)


def switch(connection: Connection, state: EngineState) -> None:
    """Turn the switch, and append who did."""
    connection.execute(
        _SWITCH,
        {"paused": state.paused, "reason": state.reason, "by": state.by, "at": state.at},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ActRow:
    """What a person did to the engine itself."""

    id: int
    at: datetime
    by: str
    action: str
    subject: str
    reason: str
    before: dict[str, Any]
    after: dict[str, Any]


_ACT = Reader(ActRow)


def acts_page(
    connection: Connection, *, limit: int, cursor: str | None
) -> tuple[list[ActRow], str | None]:
    """What people did to the engine itself, newest first; and where the next page begins."""
    statement = select(*_ACT.columns(recorded)).order_by(recorded.c.id.desc()).limit(limit + 1)
    if cursor is not None:
        if not _A_CURSOR.fullmatch(cursor):
            raise BadRequest(f"unknown cursor {cursor[:50]!r}; expected an earlier page's")
        statement = statement.where(recorded.c.id < int(cursor))
    found = _ACT.all(connection.execute(statement))
    return found[:limit], str(found[limit - 1].id) if len(found) > limit else None


def keep_policy(connection: Connection, version: str, content: Mapping[str, Any]) -> None:
    """Store a policy's content under its version, once."""
    connection.execute(
        insert(policies).values(version=version, content=content).on_conflict_do_nothing()
    )


def policy_content(connection: Connection, version: str) -> Mapping[str, Any] | None:
    """The content of a version that was once in use."""
    return connection.execute(
        select(policies.c.content).where(policies.c.version == version)
    ).scalar()


# The row holds the last place taken. Unlogged, so that its commit waits for no disk.
_RESERVE = Prepared(
    """
    insert into rate_limits as r (endpoint, next_free)
      values (%(endpoint)s, clock_timestamp() + make_interval(secs => %(more)s))
    on conflict (endpoint) do update
      set next_free = greatest(r.next_free + make_interval(secs => %(gap)s), clock_timestamp()
                               - make_interval(secs => %(burst)s))
                      + make_interval(secs => %(more)s)
    returning extract(epoch from next_free - clock_timestamp())
    """
)

# How much unused time may be made up for, in seconds; as much again may pass until a place is used.
_BURST = 0.05


def reserve_calls(connection: Connection, endpoint: str, count: int, *, per_second: float) -> float:
    """Take the next places in an endpoint's queue; in how many seconds the first of them is due.

    One row per endpoint, each place moves it on by 1/rate: all workers together keep the rate.
    """
    gap = 1.0 / per_second
    more = gap * (count - 1)
    parameters = {"endpoint": endpoint, "gap": gap, "more": more, "burst": _BURST}
    return float(_RESERVE.run(connection, **parameters).scalar_one()) - more
