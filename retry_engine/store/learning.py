"""What is learnt from (imported attempt logs and the engine's own attempts), and the models."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, text, update

from retry_engine.store.tables import attempt_log, models

Content = Mapping[str, Any]

# The engine's own record in the log's columns. Cases' own ends close it.
_OWN = text(
    """
    select c.account, 'attempt' as kind, c.invoice_id, c.customer_id, a.at, a.amount, a.currency,
           a.outcome, a.decline_code, a.advice_code, a.network_advice_code, a.network_decline_code,
           a.risk_level, a.payment_method_id, a.method_type, a.card_brand, m.card_funding,
           a.card_country, a.card_fingerprint,
           case when m.card_exp_year is not null
                then to_char(m.card_exp_year, 'FM0000') || '-' || to_char(m.card_exp_month, 'FM00')
           end as card_exp,
           c.customer_country, c.customer_timezone, c.customer_since, c.billing_reason,
           c.billing_interval, a.source, d.propensity, null as close_reason
    from attempts a
    join cases c on c.id = a.case_id
    left join payment_methods m on m.account = a.account and m.id = a.payment_method_id
    left join actions t on t.id = a.action_id
    left join decisions d on d.id = t.decision_id
    where not a.abandoned and a.outcome <> 'unknown'
    order by a.at
    """
)


# How the engine's own cases ended, in the log's words; an open case has no end.
_ENDS = text(
    """
    select c.account, 'closed' as kind, c.invoice_id, c.customer_id, c.closed_at as at,
           case
             when c.close_reason in ('recovered_by_engine', 'recovered_elsewhere') then 'recovered'
             when c.close_reason = 'subscription_ended' then 'churned'
             when c.close_reason in ('voided', 'uncollectible') then c.close_reason
             when c.close_reason = 'disputed' then 'uncollectible'
             else 'exhausted'
           end as close_reason
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


def add_rows(connection: Connection, rows: Iterable[Content]) -> int:
    """Store checked rows of a log; how many were new."""
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor:
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
        cursor.execute(
            "insert into attempt_log select distinct on (row_hash) * from incoming"
            " on conflict (row_hash) do nothing"
        )
        return int(cursor.rowcount)


def imported_rows(connection: Connection) -> list[dict[str, Any]]:
    """All imported rows, in time."""
    return [dict(r[0]) for r in connection.execute(select(attempt_log.c.content).order_by("at"))]


def own_rows(connection: Connection) -> list[dict[str, Any]]:
    """The engine's own record as rows of the log: attempts in time, then how cases ended."""
    return [dict(row) for part in (_OWN, _ENDS) for row in connection.execute(part).mappings()]


def promises(connection: Connection, version: str, *, since: datetime) -> list[dict[str, Any]]:
    """What that model promised for the attempts that were made on it, and what came."""
    found = connection.execute(_PROMISES, {"version": version, "since": since})
    return [dict(row) for row in found.mappings()]


def past_of(
    connection: Connection, *, account: str, customer_id: str, invoice_id: str, before: datetime
) -> list[dict[str, Any]]:
    """Imported attempts on a customer's other invoices, oldest first; the last sixty."""
    statement = (
        select(attempt_log.c.content)
        .where(attempt_log.c.account == account, attempt_log.c.customer_id == customer_id)
        .where(attempt_log.c.at < before)
        .order_by(attempt_log.c.at.desc())
        .limit(60)
    )
    found = [dict(row[0]) for row in connection.execute(statement)]
    kept = [r for r in found if r["kind"] == "attempt" and r["invoice_id"] != invoice_id]
    return kept[::-1]


# -- models


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


def list_models(connection: Connection) -> list[Row[Any]]:
    """All models without what is large, newest first."""
    columns = [c for c in models.c if c.name not in ("file", "plot", "reference")]
    return list(connection.execute(select(*columns).order_by(models.c.trained_at.desc())))


def model(connection: Connection, version: str) -> Row[Any] | None:
    """One model with its file."""
    return connection.execute(select(models).where(models.c.version == version)).first()


def active_version(connection: Connection) -> str | None:
    """The version that decides, None for the documented prior."""
    return connection.execute(select(models.c.version).where(models.c.state == "active")).scalar()


def activate(connection: Connection, version: str | None, *, now: datetime) -> None:
    """Let that version decide from now on; None: the documented prior."""
    connection.execute(update(models).where(models.c.state == "active").values(state="stored"))
    if version is not None:
        connection.execute(
            update(models)
            .where(models.c.version == version)
            .values(state="active", promoted_at=now)
        )


def previously_active(connection: Connection) -> str | None:
    """The version that was promoted before the active one."""
    statement = (
        select(models.c.version)
        .where(models.c.promoted_at.is_not(None), models.c.state != "active")
        .order_by(models.c.promoted_at.desc())
        .limit(1)
    )
    return connection.execute(statement).scalar()
