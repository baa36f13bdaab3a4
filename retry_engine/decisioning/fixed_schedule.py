"""The baseline that everything is compared with: the default method on fixed days."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from retry_engine.domain import network_rules
from retry_engine.domain.attempts import Source
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.policy import Policy

DAYS = (3.0, 5.0, 7.0)


def days_left(view: CaseView, days: Sequence[float] = DAYS) -> Sequence[float]:
    """The days of the schedule that this case has not had; customers' own attempts do not count."""
    made = sum(a.source is not Source.CUSTOMER for a in view.attempts) - 1
    return days[max(made, 0) :]


def next_charge(view: CaseView, days: Sequence[float] = DAYS) -> tuple[datetime, str] | None:
    """When, inside the rules, and on which method; None: nothing more."""
    default = next((m for m in view.payment_methods if m.is_default), None)
    left = days_left(view, days)
    if default is None or not left:
        return None
    at = max(view.opened_at + timedelta(days=left[0]), view.now)
    allowed = network_rules.earliest(view, default, after=at, policy=Policy())
    if allowed is None or allowed >= view.deadline_at:
        return None
    return allowed, default.id
