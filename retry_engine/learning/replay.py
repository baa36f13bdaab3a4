"""The log walked in time: at each retry, the case as it was known just before it.

Nothing from after a retry can reach its view: the view is made from what the walk has met so far.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from retry_engine.decisioning.features import Rates
from retry_engine.domain.attempts import Attempt, Outcome, Source
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.learning.log import COLUMNS, columns_of

_HORIZON = timedelta(days=30)
# What a customer's record holds at most: enough for any pay cycle, and bounded.
_REMEMBERED = 60


@dataclass(frozen=True, slots=True)
class Retry:
    """A retry of the log: the view before it, the method, and what came of it."""

    view: CaseView
    method: PaymentMethod
    attempt: Attempt
    last_code: str | None
    propensity: float | None

    @property
    def won(self) -> bool:
        """Whether the money came."""
        return self.attempt.outcome is Outcome.SUCCEEDED


@dataclass(slots=True)
class Record:
    """What is known of customers and their cards, by id; bounded per customer."""

    customers: dict[str, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    cards: dict[str, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    changed: dict[str, datetime] = field(default_factory=dict)
    offered: dict[str, list[tuple[datetime, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(self, customer: str, attempt: Attempt) -> None:
        """Take in one attempt; times must not go back."""
        for key, book in (
            (customer, self.customers),
            (attempt.card_fingerprint, self.cards),
        ):
            if key:
                entries = book[key]
                entries.append(attempt)
                if len(entries) > _REMEMBERED:
                    del entries[0]

    def last_offer(self, customer: str, now: datetime, invoice: str) -> datetime | None:
        """When the customer was last offered something about another invoice, before `now`."""
        found = (
            at for at, about in self.offered.get(customer, ()) if at < now and about != invoice
        )
        return max(found, default=None)

    def before(
        self, customer: str, fingerprints: Iterator[str | None], now: datetime, invoice: str
    ) -> tuple[Attempt, ...]:
        """Attempts on other invoices of the customer or with those cards, before `now`."""
        found = {id(a): a for a in self.customers.get(customer, ())}
        for fingerprint in fingerprints:
            if fingerprint:
                found.update((id(a), a) for a in self.cards.get(fingerprint, ()))
        chosen = (a for a in found.values() if a.at < now and a.invoice_id != invoice)
        return tuple(sorted(chosen, key=lambda a: a.at))


def walk(
    log: pd.DataFrame,
    record: Record | None = None,
    *,
    rates: Rates | None = None,
    wanted: Callable[[str], bool] = lambda _: True,
) -> Iterator[Retry]:
    """The log's retries in time, each as it was known then. Customers' own payments are left out.

    `record` and `rates` are filled on the way, whichever invoices are `wanted`. `log` must be
    sorted by time, as `log.validate` returns it.
    """
    record = record if record is not None else Record()
    columns = columns_of(log, COLUMNS)
    open_cases: dict[str, list[Attempt]] = defaultdict(list)
    for index in range(len(log)):
        row = {name: values[index] for name, values in columns.items()}
        kind, at = row["kind"], row["at"].to_pydatetime()
        if kind == "method_changed" and row["payment_method_id"]:
            record.changed[row["payment_method_id"]] = at
        if kind == "offer":
            record.offered[row["customer_id"]].append((at, row["invoice_id"]))
        if kind != "attempt":
            continue
        attempt = attempt_of(row)
        before = open_cases[attempt.invoice_id]
        if before and attempt.outcome is not Outcome.PROCESSING:
            if attempt.source is not Source.CUSTOMER:
                method_id = row["payment_method_id"]
                last = (
                    a.decline_code for a in reversed(before) if a.payment_method_id == method_id
                )
                last_code = next(last, None)
                if wanted(attempt.invoice_id):
                    yield _retry(row, attempt, before, record, last_code)
                if rates is not None:
                    rates.add(attempt, last_code)
            if before[-1].outcome is Outcome.PROCESSING:
                before.pop()  # its answer
        before.append(attempt)
        record.add(row["customer_id"], attempt)


def record_of(log: pd.DataFrame) -> Record:
    """What the whole log tells of customers and cards."""
    record = Record()
    for _ in walk(log, record, wanted=lambda _: False):
        pass
    return record


def _retry(
    row: Mapping[str, Any],
    attempt: Attempt,
    before: list[Attempt],
    record: Record,
    last_code: str | None,
) -> Retry:
    opening = before[0]
    method = method_of(row, changed=record.changed.get(row["payment_method_id"]))
    known = record.before(
        row["customer_id"], iter([method.card_fingerprint]), attempt.at, attempt.invoice_id
    )
    view = CaseView(
        case_id=attempt.invoice_id,
        invoice_id=attempt.invoice_id,
        customer_id=row["customer_id"],
        account=row["account"],
        now=attempt.at,
        opened_at=opening.at,
        deadline_at=max(opening.at + _HORIZON, attempt.at + timedelta(hours=1)),
        amount=attempt.amount,
        currency=attempt.currency,
        attempts=tuple(before),
        payment_methods=(method,),
        card_attempts=known,
        billing_reason=row["billing_reason"] or None,
        billing_interval=row["billing_interval"] or None,
        customer_country=row["customer_country"] or None,
        customer_timezone=row["customer_timezone"] or None,
        customer_since=time_of(row["customer_since"]),
    )
    known_propensity = row["propensity"]
    return Retry(
        view=view,
        method=method,
        attempt=attempt,
        last_code=last_code,
        propensity=None if pd.isna(known_propensity) else float(known_propensity),
    )


def attempt_of(row: Mapping[str, Any]) -> Attempt:
    """An attempt row of the log, or of a case's list of attempts."""

    def text(name: str) -> str | None:
        value = row.get(name)
        return value if isinstance(value, str) and value else None

    amount, expiry = row.get("amount"), text("card_exp")
    return Attempt(
        at=_moment(row["at"]),
        source=Source(text("source") or "stripe"),
        outcome=Outcome(row["outcome"]),
        amount=0 if amount is None or pd.isna(amount) else int(amount),
        currency=text("currency") or "",
        invoice_id=text("invoice_id") or "",
        payment_method_id=text("payment_method_id"),
        method_type=text("method_type") or "card",
        card_brand=text("card_brand"),
        card_country=text("card_country"),
        card_fingerprint=text("card_fingerprint"),
        card_exp=_expiry(expiry),
        decline_code=text("decline_code"),
        advice_code=text("advice_code"),
        network_advice_code=text("network_advice_code"),
        network_decline_code=text("network_decline_code"),
        risk_level=text("risk_level"),
    )


def method_of(
    row: Mapping[str, Any],
    *,
    is_default: bool = False,
    changed: datetime | None = None,
    added: datetime | None = None,
) -> PaymentMethod:
    """The method that a row of the log, or of a case's list of methods, speaks of."""

    def text(name: str) -> str | None:
        value = row.get(name)
        return value if isinstance(value, str) and value else None

    return PaymentMethod(
        id=text("payment_method_id") or "",
        type=text("method_type") or "card",
        card_brand=text("card_brand"),
        card_funding=text("card_funding"),
        card_country=text("card_country"),
        card_exp=_expiry(text("card_exp")),
        card_fingerprint=text("card_fingerprint"),
        is_default=is_default,
        added_at=added,
        changed_at=changed,
    )


def _expiry(text: str | None) -> tuple[int, int] | None:
    return (int(text[:4]), int(text[5:7])) if text else None


def time_of(value: Any) -> datetime | None:
    """A time of a frame's cell, None where it is empty."""
    return None if value is None or value == "" or pd.isna(value) else _moment(value)


def _moment(value: Any) -> datetime:
    stamp = pd.Timestamp(value)
    stamp = stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")
    return stamp.to_pydatetime()
