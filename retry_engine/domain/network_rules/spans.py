"""Spans of time in which a method must not be charged, and how they are read."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from retry_engine.domain.attempts import Attempt


class Kind(StrEnum):
    """Who says so: the networks, the law, the customer's consent, the invoice; or this engine."""

    BINDING = "binding"  # nobody may override it
    PACING = "pacing"  # a preference of ours: the planner keeps to it, a person is warned of it


@dataclass(frozen=True, slots=True)
class Forbidden:
    """`rule` forbids charging from `since` until before `until` (None: until something changes)."""

    rule: str
    since: datetime
    until: datetime | None
    detail: str
    kind: Kind = Kind.BINDING

    def holds_at(self, at: datetime) -> bool:
        """Whether `at` lies inside."""
        return self.since <= at and (self.until is None or at < self.until)


Spans = Iterable[Forbidden]


def binding(spans: Iterable[Forbidden]) -> tuple[Forbidden, ...]:
    """Of these spans the ones that no person can override."""
    return tuple(span for span in spans if span.kind is Kind.BINDING)


def longest_at(spans: Iterable[Forbidden], at: datetime) -> Forbidden | None:
    """Of the spans that hold at a moment the one that ends last."""
    holding = [span for span in spans if span.holds_at(at)]
    for span in holding:
        if span.until is None:
            return span
    return max(holding, key=lambda span: span.until or at, default=None)


def until_after(rule: str, attempt: Attempt, wait: timedelta, detail: str) -> Forbidden:
    """So long from an attempt on."""
    return Forbidden(rule, attempt.at, attempt.at + wait, detail)
