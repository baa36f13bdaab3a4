"""What is learnt from (imported attempt logs and the engine's own attempts), and the models."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, text, update

from retry_engine.domain.vocabulary import CloseReason, ModelState, Source
from retry_engine.store.tables import attempt_log, models
from retry_engine.store.typed_rows import Reader

Content = Mapping[str, Any]

# The engine's own record in the log's columns. Cases' own ends close it.
_OWN = text(
    """
    select c.account, 'attempt' as kind, c.invoice_id, c.customer_id, a.at, a.amount, a.currency,
           a.outcome, a.decline_code, a.advice_code, a.network_advice_code, a.network_decline_code,
           a.risk_level, a.payment_method_id, a.method_type, a.card_brand, m.card_funding,
           a.card_country, a.card_fingerprint,
           to_char(coalesce(a.card_exp_year, m.card_exp_year), 'FM0000') || '-'
             || to_char(coalesce(a.card_exp_month, m.card_exp_month), 'FM00') as card_exp,
           c.customer_country, c.customer_timezone, c.customer_since, c.billing_reason,
           c.billing_interval, a.source, d.propensity, null as close_reason, a.charge_id
    from attempts a
    join cases c on c.id = a.case_id
    left join payment_methods m on m.account = a.account and m.id = a.payment_method_id
    left join actions t on t.id = a.action_id
    left join decisions d on d.id = t.decision_id
    where not a.abandoned and a.outcome <> 'unknown'
    order by a.at
    """
)


# What was said to customers. Of `unknown` nobody knows whether it arrived: it counts as said.
_SAID = text(
    """
    select m.account, 'message' as kind, c.invoice_id, m.customer_id, m.at,
           case when d.discount = 0 then d.offer_propensity end as propensity
    from messages m
    join cases c on c.id = m.case_id
    left join decisions d on d.id = m.decision_id
    where m.state in ('sent', 'unknown')
    order by m.at
    """
)

# What was offered, with the chance that just this was. `amount` is the discount.
_OFFERED = text(
    """
    select o.account, 'offer' as kind, c.invoice_id, o.customer_id, o.at, o.amount, o.currency,
           d.offer_propensity as propensity
    from offers o
    join cases c on c.id = o.case_id
    left join decisions d on d.id = o.decision_id
    order by o.at
    """
)


# How the engine's own cases ended; an open case has no end.
_ENDS = text(
    """
    select c.account, 'closed' as kind, c.invoice_id, c.customer_id, c.closed_at as at,
           c.close_reason
    from cases c
    where c.state = 'closed' and c.closed_at is not null
    order by c.closed_at
    """
)

# Attempts that the planner chose by that model, with what it was promised. A person's are not among
# them, nor are answers that are still out.
_PROMISES = text(
    """
    select d.success_probability as promised, a.outcome = 'succeeded' as won, a.at
    from attempts a
    join actions t on t.id = a.action_id
    join decisions d on d.id = t.decision_id
    where a.source = 'engine' and not a.abandoned and t.requested_by is null
      and a.outcome in ('succeeded', 'failed', 'requires_action')
      and d.success_probability is not null and d.model_version = :version and a.at >= :since
    order by a.at
    """
)


# The row of the log `l` is the attempt `a`: the same charge or, where one of them does not know its
# charge, the same money on the same method at the same time. The engine's own attempts carry the
# time of their intent, which is a little before the charge's.
_SAME_CHARGE = "a.account = l.account and a.charge_id = l.content->>'charge_id'"
_SAME_ATTEMPT = """
    a.account = l.account and a.customer_id = l.customer_id
    and a.payment_method_id = l.content->>'payment_method_id'
    and a.amount = (l.content->>'amount')::bigint
    and (a.charge_id is null or l.content->>'charge_id' is null)
    and (a.at = l.at
         or a.source = 'engine'
            and (l.at - a.at between interval '-2 minutes' and interval '1 hour'
                 or l.at - a.sent_at between interval '-2 minutes' and interval '1 hour'))
"""

# What `own_rows` gives is left out: an attempt that both hold counts once.
_IMPORTED = text(
    f"""
    select l.content from attempt_log l
    where not exists (
      select from attempts a where {_SAME_CHARGE}
      and a.case_id is not null and not a.abandoned and a.outcome <> 'unknown'
    )
    and not exists (
      select from attempts a where {_SAME_ATTEMPT}
      and a.case_id is not null and not a.abandoned and a.outcome <> 'unknown'
    )
    order by l.at
    """  # noqa: S608  # constants only
)

# A row that was read again takes the place of what was known of the same charge, or of the same
# invoice's end.
_SUPERSEDED = """
    l.account = i.account and l.customer_id = i.customer_id and l.row_hash <> i.row_hash
    and l.content->>'kind' = i.content->>'kind'
"""
_SAME_ATTEMPT_OF_LOG = (
    "l.content->>'kind' = 'attempt' and l.content->>'charge_id' = i.content->>'charge_id'"
)
_SAME_END_OF_LOG = (
    "l.content->>'kind' = 'closed' and l.content->>'invoice_id' = i.content->>'invoice_id'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """How many rows were new, and how many took the place of an older reading."""

    new: int
    changed: int


def put_read_again(connection: Connection, rows: Iterable[Content]) -> Stored:
    """Store rows as Stripe has them now, in place of older readings of the same things."""
    with _incoming(connection, rows) as cursor:
        cursor.execute(
            f"delete from attempt_log l using incoming i where {_SUPERSEDED}"  # noqa: S608
            f" and ({_SAME_ATTEMPT_OF_LOG} or {_SAME_END_OF_LOG})"
            " and not exists (select from incoming n where n.row_hash = l.row_hash)"
        )
        replaced = int(cursor.rowcount)
        inserted = _insert_incoming(cursor)
    return Stored(new=max(inserted - replaced, 0), changed=min(replaced, inserted))


def put_imported(connection: Connection, rows: Iterable[Content]) -> Stored:
    """Store checked rows of a file: it may know less of a charge than who read the charge itself.

    What is known of a charge with that outcome is left as it is; of an invoice's ends the latest
    stays.
    """
    with _incoming(connection, rows) as cursor:
        cursor.execute(
            f"delete from attempt_log l using incoming i where {_SUPERSEDED}"  # noqa: S608
            f" and {_SAME_END_OF_LOG} and l.at <= i.at"
            " and not exists (select from incoming n where n.row_hash = l.row_hash)"
        )
        replaced = int(cursor.rowcount)
        cursor.execute(
            f"delete from incoming i using attempt_log l where {_SUPERSEDED}"  # noqa: S608
            f" and ({_SAME_ATTEMPT_OF_LOG} and l.content->>'outcome' = i.content->>'outcome'"
            f" or {_SAME_END_OF_LOG} and l.at > i.at)"
        )
        inserted = _insert_incoming(cursor)
    return Stored(new=max(inserted - replaced, 0), changed=min(replaced, inserted))


@contextmanager
def _incoming(connection: Connection, rows: Iterable[Content]) -> Iterator[Any]:
    """A cursor beside a table of its own that holds the rows as they will be stored."""
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor:
        # several files may follow each other in one transaction
        cursor.execute("drop table if exists pg_temp.incoming")
        cursor.execute("create temp table incoming (like attempt_log) on commit drop")
        with cursor.copy(
            "copy incoming (row_hash, account, customer_id, at, content) from stdin"
        ) as copy:
            for row in rows:
                body = json.dumps(row, sort_keys=True)
                digest = hashlib.sha256(body.encode()).hexdigest()
                copy.write_row(
                    (digest, row.get("account") or "", row["customer_id"], row["at"], body)
                )
        cursor.execute("analyze incoming")  # a million rows must not be joined as if they were few
        yield cursor


def _insert_incoming(cursor: Any) -> int:
    cursor.execute(
        "insert into attempt_log select distinct on (row_hash) * from incoming"
        " on conflict (row_hash) do nothing"
    )
    return int(cursor.rowcount)


def sources_of_log(
    connection: Connection, account: str, customer_id: str, charge_ids: Sequence[str]
) -> dict[str, Source]:
    """By charge: who made it, as an earlier reading found."""
    statement = select(attempt_log.c.content).where(
        attempt_log.c.account == account,
        attempt_log.c.customer_id == customer_id,
        attempt_log.c.content["charge_id"].astext.in_(charge_ids),
    )
    found = (row[0] for row in connection.execute(statement))
    return {row["charge_id"]: Source(row["source"]) for row in found if "source" in row}


def imported_rows(connection: Connection) -> list[dict[str, Any]]:
    """Imported rows in time, without attempts that `own_rows` gives."""
    return [dict(r[0]) for r in connection.execute(_IMPORTED)]


def own_rows(connection: Connection) -> list[dict[str, Any]]:
    """The engine's own record as rows of the log: attempts, messages, offers, ends."""
    parts = (_OWN, _SAID, _OFFERED)
    told = [dict(row) for part in parts for row in connection.execute(part).mappings()]
    return told + [_as_logged(row) for row in connection.execute(_ENDS).mappings()]


def _as_logged(end: RowMapping) -> dict[str, Any]:
    """An end of a case in the log's words."""
    return {**end, "close_reason": CloseReason(end["close_reason"]).logged_as.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a model promised for an attempt that was made on it, and what came."""

    promised: float
    won: bool
    at: datetime


_PROMISE = Reader(Promise)


def promises(connection: Connection, version: str, *, since: datetime) -> list[Promise]:
    """What that model promised for the attempts that were made on it, and what came."""
    return _PROMISE.all(connection.execute(_PROMISES, {"version": version, "since": since}))


_PAST = text(
    f"""
    select l.content from attempt_log l
    where l.account = :account and l.customer_id = :customer_id and l.at < :before
    and l.content->>'kind' = 'attempt' and l.content->>'invoice_id' <> :invoice_id
    and not exists (
      select from attempts a where {_SAME_CHARGE} and not a.abandoned and a.at >= :recorded_since
    )
    and not exists (
      select from attempts a where {_SAME_ATTEMPT} and not a.abandoned and a.at >= :recorded_since
    )
    order by l.at desc
    limit 60
    """  # noqa: S608  # constants only
)


def past_of(
    connection: Connection,
    *,
    account: str,
    customer_id: str,
    invoice_id: str,
    before: datetime,
    recorded_since: datetime,
) -> list[dict[str, Any]]:
    """Imported attempts on a customer's other invoices, oldest first; the last sixty.

    What the record itself holds from `recorded_since` on is left out.
    """
    found = connection.execute(
        _PAST,
        {
            "account": account,
            "customer_id": customer_id,
            "invoice_id": invoice_id,
            "before": before,
            "recorded_since": recorded_since,
        },
    )
    return [dict(row[0]) for row in found][::-1]


# -- models


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """A stored model without what is large."""

    version: str
    trained_at: datetime
    state: ModelState
    promoted_at: datetime | None
    sha256: str
    card: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel(ModelRow):
    """With its file, its card's plot and what drift is measured against."""

    file: bytes
    plot: bytes | None
    reference: dict[str, Any] | None


_LISTED = Reader(ModelRow)
_WHOLE = Reader(StoredModel)


def put_model(
    connection: Connection,
    *,
    version: str,
    trained_at: datetime,
    card: Content,
    file: bytes,
    plot: bytes,
    reference: Content,
) -> None:
    """Store a model; the same version again changes nothing."""
    exists = connection.execute(select(models.c.version).where(models.c.version == version)).first()
    if exists is None:
        digest = hashlib.sha256(file).hexdigest()
        connection.execute(
            insert(models).values(
                version=version,
                trained_at=trained_at,
                card=dict(card),
                file=file,
                sha256=digest,
                plot=plot,
                reference=dict(reference),
            )
        )


def list_models(connection: Connection) -> list[ModelRow]:
    """All models without what is large, newest first."""
    statement = select(*_LISTED.columns(models)).order_by(models.c.trained_at.desc())
    return _LISTED.all(connection.execute(statement))


def model(connection: Connection, version: str) -> StoredModel | None:
    """One model with its file."""
    statement = select(*_WHOLE.columns(models)).where(models.c.version == version)
    return _WHOLE.first(connection.execute(statement))


def active_version(connection: Connection) -> str | None:
    """The version that decides, None for the documented prior."""
    return connection.execute(
        select(models.c.version).where(models.c.state == ModelState.ACTIVE)
    ).scalar()


def activate(connection: Connection, version: str | None, *, now: datetime) -> None:
    """Let that version decide from now on; None: the documented prior."""
    connection.execute(
        update(models).where(models.c.state == ModelState.ACTIVE).values(state=ModelState.STORED)
    )
    if version is not None:
        connection.execute(
            update(models)
            .where(models.c.version == version)
            .values(state=ModelState.ACTIVE, promoted_at=now)
        )


def previously_active(connection: Connection) -> str | None:
    """The version that was promoted before the active one."""
    statement = (
        select(models.c.version)
        .where(models.c.promoted_at.is_not(None), models.c.state != ModelState.ACTIVE)
        .order_by(models.c.promoted_at.desc())
        .limit(1)
    )
    return connection.execute(statement).scalar()
