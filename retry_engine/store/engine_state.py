"""The one switch for everything, the policies in use, and Stripe's limits shared by all workers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, text, update
from sqlalchemy.dialects.postgresql import insert

from retry_engine.store.tables import engine_state, policies


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


def write(connection: Connection, state: EngineState) -> None:
    """Set the switch."""
    connection.execute(
        update(engine_state).values(
            paused=state.paused, reason=state.reason, by=state.by, at=state.at
        )
    )


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


_RESERVE = text(
    """
    insert into rate_limits as r (endpoint, next_free) values (:endpoint, clock_timestamp())
    on conflict (endpoint) do update
      set next_free = greatest(r.next_free + make_interval(secs => :gap), clock_timestamp()
                               - make_interval(secs => :burst))
    returning extract(epoch from next_free - clock_timestamp())
    """
)


def reserve_call(connection: Connection, endpoint: str, *, per_second: float) -> float:
    """Take the next place in an endpoint's queue; how many seconds until it is due (0: at once).

    One row per endpoint, each call moves it on by 1/rate: all workers together keep the rate,
    and up to a tenth of a second's unused places may be made up for.
    """
    parameters = {"endpoint": endpoint, "gap": 1.0 / per_second, "burst": 0.1}
    wait = connection.execute(_RESERVE, parameters).scalar_one()
    return max(0.0, float(wait))
