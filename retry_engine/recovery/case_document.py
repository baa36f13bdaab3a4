"""A case as it is shown to whoever asks, and told to the host application: one form for both."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from retry_engine.store import cases as rows
from retry_engine.store import intents, schedule
from retry_engine.store.cases import Case
from retry_engine.store.schedule import Action

Document = dict[str, Any]


def one(connection: Connection, case: Case, real_now: datetime) -> Document:
    """One case, as in a list."""
    return many(connection, [case], real_now)[0]


def many(connection: Connection, found: Sequence[Case], real_now: datetime) -> list[Document]:
    """The same of each of these cases, in their order."""
    ids = [c.id for c in found]
    made = intents.count_by_case(connection, ids)
    planned = schedule.planned_retries(connection, ids)
    return [
        _case(c, made.get(c.id, 0), planned.get(c.id), rows.time_of(connection, c, real_now))
        for c in found
    ]


def _case(case: Case, attempts_made: int, planned: Action | None, now: datetime) -> Document:
    return {
        "id": case.id,
        "account": case.account or None,
        "invoice": case.invoice_id,
        "customer": case.customer_id,
        "subscription": case.subscription_id,
        "state": case.state,
        "amount_at_open": case.amount_at_open,
        "amount_remaining": case.amount_remaining,
        "amount_recovered": case.amount_recovered,
        "currency": case.currency,
        "opened_at": text(case.opened_at),
        "closed_at": text(case.closed_at),
        "close_reason": case.close_reason,
        "mode": case.mode,
        "attempts_made": attempts_made,
        "next_action": _next_action(planned),
        "clock": {"test_clock": case.test_clock, "now": text(now)},
        "policy_version": case.policy_version,
        "deadline_at": text(case.deadline_at),
    }


def _next_action(planned: Action | None) -> Document | None:
    if planned is None:
        return None
    return {
        "kind": planned.kind,
        "at": text(planned.due_at),
        "payment_method": planned.payment_method_id,
    }


def text(at: datetime | None) -> str | None:
    """RFC 3339 in UTC."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
