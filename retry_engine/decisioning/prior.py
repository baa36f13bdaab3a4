"""The documented prior: how likely a charge is to succeed, before any data of one's own.

By the cause of the last decline on a method:

- technical (issuer away, processing error): mends itself within hours;
- insufficient funds: little chance until wages come in, then a good one that wears off. Which pay
  cycle a customer is on is a belief over their country's cycles, moved by each of their own
  payments and failures;
- opaque (do not honor, generic): a modest chance that comes back over days;
- limits: reset within a day or some;
- data, authentication, hard: next to none; the rules keep such methods out anyway.

Each failure in a row on one card lowers the chance by about a third. A method that was not declined
is as good as its first try elsewhere, less what it shares with the one that was. The numbers are
rounded readings of published ranges, not measurements; a learnt model replaces them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np
import numpy.typing as npt

from retry_engine.decisioning import discounts, paydays
from retry_engine.decisioning.churn import UNKNOWN, ChurnHazard
from retry_engine.decisioning.discounts import Effects
from retry_engine.domain import codes, network_rules
from retry_engine.domain.attempts import Attempt, Outcome
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.codes import Category
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.timezones import zone_of

Floats = npt.NDArray[np.float64]

_HOUR, _DAY = 3600.0, 86_400.0

# category -> (chance once it has mended, days in which it mends to 63 %, chance at once)
_MENDING = {
    Category.ISSUER_TRANSIENT: (0.82, 0.35, 0.10),
    Category.ISSUER_RISK: (0.34, 3.0, 0.05),
    Category.LIMITS: (0.55, 1.5, 0.05),
    Category.UNKNOWN: (0.30, 3.0, 0.05),
    Category.CONFIGURATION: (0.05, 5.0, 0.02),
    Category.FRAUD: (0.02, 5.0, 0.01),
}
_HOPELESS = (0.04, 5.0, 0.02)

_FRESH_CARD, _FRESH_DEBIT, _UPDATED = 0.62, 0.75, 0.70
# What a healthy method shares with one that was declined: the same balance, the same bank's mood.
_SHARED = {Category.INSUFFICIENT_FUNDS: 0.82, Category.ISSUER_RISK: 0.9, Category.FRAUD: 0.6}
_AFTER_EACH_FAILURE = 0.66
_AFTER_EXPIRY = 0.2

# Funds by a pay cycle: the chance right after payday, days in which it wears off, and otherwise.
_PAID, _PAID_DAYS, _UNPAID = 0.72, 9.0, 0.13


class SuccessModel(Protocol):
    """What the planner needs of a model, this prior or a learnt one."""

    @property
    def version(self) -> str:
        """What decisions name it by."""

    @property
    def damping(self) -> float:
        """What later chances are multiplied with for each failure that is only assumed."""

    @property
    def offer_effects(self) -> Effects:
        """What discounts do, as far as this model knows."""

    @property
    def churn(self) -> ChurnHazard:
        """How quickly customers leave, as far as this model knows."""

    def success_probabilities(
        self, asked: Sequence[tuple[CaseView, PaymentMethod, Floats]]
    ) -> list[Floats]:
        """Per question its chances (slots,) in [0, 1], none NaN.

        A question's slots (slots,) are UTC epoch seconds from the case's now on.
        """


@dataclass(frozen=True, slots=True)
class PriorModel:
    """The prior as a success model. It has no state: the case brings all it needs."""

    version: str = "prior-1"
    damping: float = 0.78
    offer_effects: Effects = discounts.PRIOR
    churn: ChurnHazard = UNKNOWN

    def success_probabilities(
        self, asked: Sequence[tuple[CaseView, PaymentMethod, Floats]]
    ) -> list[Floats]:
        """Per question its chances, (slots,)."""
        return [self.success_probability(view, method, slots) for view, method, slots in asked]

    def success_probability(self, view: CaseView, method: PaymentMethod, slots: Floats) -> Floats:
        """The chance of a charge at each of the slots (UTC epoch seconds), (slots,), 0 to 0.97."""
        failures = failures_on(view, method)
        chance = (
            _after_failures(view, method, failures, slots)
            if failures
            else np.full(slots.shape, _fresh(view, method))
        )
        chance = chance * _expiry(method, slots) * _time_of_day(view, slots)
        clipped: Floats = np.clip(chance, 0.0, 0.97)
        return clipped


def log_hazard(chance: Floats) -> Floats:
    """The complementary log-log of chances (n,), (n,); finite also for 0 and 1.

    The log of the hazard whose one interval has that chance of an event (Prentice and Gloeckler
    1978): `1 - exp(-exp(x))` takes it back.
    """
    clipped = np.clip(chance, 1e-4, 1 - 1e-4)
    return np.log(-np.log1p(-clipped))


def failures_on(view: CaseView, method: PaymentMethod) -> list[Attempt]:
    """Declines of this method as it is now, of this case and shortly before, oldest first."""
    recently = view.opened_at - timedelta(days=10)
    return [a for a in network_rules.declines_of(view, method) if a.at >= recently]


def category_of(attempt: Attempt) -> Category:
    """What a decline was about; one that Stripe says will do later is technical."""
    category = codes.lookup(attempt.decline_code).category
    soon = attempt.advice_code == "try_again_later" and attempt.outcome_type == "invalid"
    return Category.ISSUER_TRANSIENT if soon and category is Category.ISSUER_RISK else category


def _is_news(view: CaseView, method: PaymentMethod) -> bool:
    """Whether the card was replaced, or added since the invoice failed."""
    return bool(method.changed_at or (method.added_at and method.added_at > view.opened_at))


def _fresh(view: CaseView, method: PaymentMethod) -> float:
    if _is_news(view, method):
        return _UPDATED
    base = _FRESH_CARD if method.type == "card" else _FRESH_DEBIT
    if method.card_funding == "credit":
        base += 0.06
    elif method.card_funding == "prepaid":
        base -= 0.15
    last = next((a for a in reversed(view.attempts) if a.outcome is not Outcome.SUCCEEDED), None)
    return base * (_SHARED.get(category_of(last), 0.97) if last else 1.0)


def _after_failures(
    view: CaseView, method: PaymentMethod, failures: Sequence[Attempt], slots: Floats
) -> Floats:
    last = failures[-1]
    days = np.maximum(slots - last.at.timestamp(), 0.0) / _DAY
    in_a_row = len([a for a in failures if a.invoice_id == view.invoice_id]) or 1
    damped: float = _AFTER_EACH_FAILURE ** (in_a_row - 1)
    category = category_of(last)
    if category is Category.INSUFFICIENT_FUNDS:
        # the belief about the pay cycle has learnt from the failures already
        return _funds(view, method, failures, slots) * float(damped**0.5)
    mended, pace, at_once = _MENDING.get(category, _HOPELESS)
    if category is Category.ISSUER_TRANSIENT:
        damped = 0.85 ** (in_a_row - 1)
    return (at_once + (mended - at_once) * (1.0 - np.exp(-days / pace))) * damped


def _funds(
    view: CaseView, method: PaymentMethod, failures: Sequence[Attempt], slots: Floats
) -> Floats:
    """Chance that the money is there: each pay cycle's, weighed by the belief in it."""
    last = failures[-1].at.timestamp()
    belief = cycle_belief(view, method)
    end = datetime.fromtimestamp(float(slots[-1]), UTC)
    amplitude = 0.75 if method.card_funding == "credit" else 1.0
    chance = np.zeros(slots.shape)
    for cycle, share in belief.items():
        days = pay_cycle_days(view, cycle, end)
        index = np.searchsorted(days, slots, side="right") - 1
        since = (slots - days[np.maximum(index, 0)]) / _DAY
        was_paid = days[np.maximum(index, 0)] > last
        # little by little money also comes in from elsewhere
        drift = _UNPAID + 0.012 * np.minimum((slots - last) / _DAY, 12.0)
        paid = _PAID * amplitude * np.exp(-since / (2.5 * _PAID_DAYS)) + _UNPAID * 0.5
        chance += share * np.where(was_paid, paid, drift)
    return chance


def cycle_belief(view: CaseView, method: PaymentMethod) -> dict[str, float]:
    """Share of belief in each pay cycle, from the country's mix and this customer's own record."""
    mix = paydays.mix_of(view.customer_country or method.card_country)
    told = [
        a
        for a in view.attempts_on(method)
        if a.outcome is Outcome.SUCCEEDED or a.decline_code == "insufficient_funds"
    ][-24:]
    belief = {cycle: share * _likelihood(view, cycle, told) for cycle, share in mix.items()}
    total = sum(belief.values())
    return {cycle: weight / total for cycle, weight in belief.items()}


def _likelihood(view: CaseView, cycle: str, told: Sequence[Attempt]) -> float:
    """How well the cycle explains when this customer could pay and when not."""
    if not told:
        return 1.0
    times = np.array([a.at.timestamp() for a in told])
    days = pay_cycle_days(view, cycle, told[-1].at, start=told[0].at)
    index = np.maximum(np.searchsorted(days, times, side="right") - 1, 0)
    since = np.maximum(times - days[index], 0.0) / _DAY
    # most payments go through at any time: a success tells less than an empty account
    empty = np.clip(0.06 + 0.30 * (1.0 - np.exp(-since / _PAID_DAYS)), 0.03, 0.6)
    paid = np.array([a.outcome is Outcome.SUCCEEDED for a in told])
    return float(np.prod(np.where(paid, 1.0 - empty, empty)))


def pay_cycle_days(
    view: CaseView, cycle: str, end: datetime, *, start: datetime | None = None
) -> Floats:
    """The cycle's paydays for this customer, (n,): UTC epoch seconds, from 45 days before."""
    country = view.customer_country
    zone = zone_of(view.customer_timezone, country)
    return paydays.paydays(cycle, country, zone, start=start or view.opened_at, end=end)


def _expiry(method: PaymentMethod, slots: Floats) -> Floats:
    """An expired card may still pass, by the issuer's or the network's updating, but seldom."""
    if method.card_exp is None:
        return np.ones(slots.shape)
    year, month = method.card_exp
    end = datetime(year + month // 12, month % 12 + 1, 1, 12, tzinfo=UTC).timestamp()
    return np.where(slots < end, 1.0, _AFTER_EXPIRY)


def _time_of_day(view: CaseView, slots: Floats) -> Floats:
    """Within a few per cent: nobody has shown more, and sources contradict each other."""
    zone = zone_of(view.customer_timezone, view.customer_country)
    offset = zone.utcoffset(datetime.fromtimestamp(float(slots[0]), UTC).replace(tzinfo=zone))
    seconds = slots + (offset.total_seconds() if offset else 0.0)
    hour = (seconds % _DAY) / _HOUR
    weekday = (seconds // _DAY + 3) % 7  # 1970-01-01 was a Thursday
    night = np.where((hour < 6) | (hour >= 23), 0.97, 1.0)
    return night * np.where(weekday >= 5, 0.98, 1.0)
