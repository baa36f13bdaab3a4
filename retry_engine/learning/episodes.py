"""Failed invoices of a log as they stood when they opened: what a policy may be played from."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from retry_engine.domain.attempts import Attempt, Outcome, Source
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.learning import replay
from retry_engine.learning.log import COLUMNS, columns_of

# A method that was charged this long before the opening is taken to be saved still.
_STILL_SAVED = timedelta(days=100)


@dataclass(frozen=True, slots=True)
class FirstRetry:
    """What the log's own policy did first, where it says how likely that was."""

    at: datetime
    method_id: str
    won: bool
    propensity: float


@dataclass(frozen=True, slots=True)
class Episode:
    """`view` is just after the failure; `arrivals` are methods that came later, oldest first."""

    view: CaseView
    arrivals: tuple[tuple[datetime, PaymentMethod], ...]
    first: FirstRetry | None


@dataclass(slots=True)
class _Draft:
    row: Mapping[str, Any]
    attempt: Attempt
    methods: dict[str, PaymentMethod]
    past: tuple[Attempt, ...]
    arrivals: dict[str, tuple[datetime, PaymentMethod]] = field(default_factory=dict)
    first: FirstRetry | None = None
    retried: bool = False


def episodes_of(
    log: pd.DataFrame, invoices: Collection[str], *, horizon: timedelta
) -> list[Episode]:
    """Those invoices in the order of their opening.

    A log names a method only where it was charged or changed. A case has the methods of its
    customer that were charged shortly before or on the invoice itself; one that was saved and never
    charged is not known.
    """
    drafts: dict[str, _Draft] = {}
    of_customer: dict[str, list[_Draft]] = defaultdict(list)
    seen: dict[str, dict[str, tuple[datetime, PaymentMethod]]] = defaultdict(dict)
    record = replay.Record()
    met: set[str] = set()
    columns = columns_of(log, COLUMNS)
    for index in range(len(log)):
        row = {name: values[index] for name, values in columns.items()}
        at, customer, invoice = row["at"].to_pydatetime(), row["customer_id"], row["invoice_id"]
        if row["kind"] == "method_changed" and row["payment_method_id"]:
            record.changed[row["payment_method_id"]] = at
            method = replay.method_of(row, is_default=True, changed=at)
            for draft in of_customer[customer]:
                if draft.attempt.at < at < draft.attempt.at + horizon:
                    draft.arrivals[method.id] = at, method
        if row["kind"] != "attempt":
            continue
        attempt = replay.attempt_of(row)
        method = replay.method_of(row, changed=record.changed.get(row["payment_method_id"]))
        if invoice not in met and invoice in invoices:
            drafts[invoice] = draft = _draft(row, attempt, method, seen[customer], record)
            of_customer[customer].append(draft)
        elif invoice in drafts:
            _note(drafts[invoice], attempt, method, row["propensity"])
        met.add(invoice)
        if method.id:
            seen[customer][method.id] = at, method
        record.add(customer, attempt)
    return [_episode(draft, horizon) for draft in drafts.values()]


def _draft(
    row: Mapping[str, Any],
    attempt: Attempt,
    method: PaymentMethod,
    seen: Mapping[str, tuple[datetime, PaymentMethod]],
    record: replay.Record,
) -> _Draft:
    first = replay.method_of(row, is_default=True, changed=method.changed_at)
    saved = {m.id: m for when, m in seen.values() if attempt.at - when <= _STILL_SAVED}
    methods = {first.id: first} | {i: m for i, m in saved.items() if i != first.id}
    fingerprints = iter([m.card_fingerprint for m in methods.values()])
    past = record.before(row["customer_id"], fingerprints, attempt.at, attempt.invoice_id)
    return _Draft(row, attempt, methods, past)


def _note(draft: _Draft, attempt: Attempt, method: PaymentMethod, propensity: Any) -> None:
    if method.id and method.id not in draft.arrivals:
        draft.methods.setdefault(method.id, method)
    if attempt.source is Source.CUSTOMER or attempt.outcome is Outcome.PROCESSING or draft.retried:
        return
    draft.retried = True
    if not pd.isna(propensity):
        won = attempt.outcome is Outcome.SUCCEEDED
        draft.first = FirstRetry(attempt.at, method.id, won, float(propensity))


def _episode(draft: _Draft, horizon: timedelta) -> Episode:
    row, attempt = draft.row, draft.attempt
    view = CaseView(
        case_id=attempt.invoice_id,
        invoice_id=attempt.invoice_id,
        customer_id=row["customer_id"],
        account=row["account"],
        now=attempt.at + timedelta(minutes=5),
        opened_at=attempt.at,
        deadline_at=attempt.at + horizon,
        amount=attempt.amount,
        currency=attempt.currency,
        attempts=(attempt,),
        payment_methods=tuple(m for m in draft.methods.values() if m.id not in draft.arrivals),
        card_attempts=draft.past,
        billing_reason=row["billing_reason"] or None,
        billing_interval=row["billing_interval"] or None,
        customer_country=row["customer_country"] or None,
        customer_timezone=row["customer_timezone"] or None,
        customer_since=replay.time_of(row["customer_since"]),
    )
    return Episode(view, tuple(sorted(draft.arrivals.values(), key=lambda a: a[0])), draft.first)
