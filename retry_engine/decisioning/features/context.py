"""What features are computed from: a case, a method, moments, and what was learnt beside them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from retry_engine.decisioning.pay_cycles import Evidence, PayCycles, days_since_payday, evidence
from retry_engine.domain import codes, network_rules
from retry_engine.domain.attempts import Attempt, Outcome
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.timezones import zone_of

Floats = npt.NDArray[np.float64]

HOUR, DAY = 3600.0, 86_400.0
LONG = 60.0  # days that stand for "never", or longer ago than it matters
_HALF_LIFE = 30 * DAY


@dataclass
class Rates:
    """Recent success of attempts by what they share, learnt only from what has happened.

    Halved every 30 days, and pulled towards the overall rate with the weight of ten attempts.
    """

    counts: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    def add(self, attempt: Attempt, last_code: str | None) -> None:
        """Take in one retry whose outcome is known; `last_code` is the decline before it."""
        won = float(attempt.outcome is Outcome.SUCCEEDED)
        at = attempt.at.timestamp()
        for key in ("all", f"code:{last_code}", issuer_key(attempt)):
            wins, total, when = self.counts.get(key, (0.0, 0.0, at))
            kept = 0.5 ** (max(at - when, 0.0) / _HALF_LIFE)
            self.counts[key] = (wins * kept + won, total * kept + 1.0, max(at, when))

    def of(self, key: str) -> float:
        """Share of successes, smoothed."""
        wins, total, _ = self.counts.get("all", (0.0, 0.0, 0.0))
        overall = (wins + 3.0) / (total + 10.0)
        wins, total, _ = self.counts.get(key, (0.0, 0.0, 0.0))
        return (wins + 10.0 * overall) / (total + 10.0)


def issuer_key(of: Attempt | PaymentMethod) -> str:
    """What stands for the issuer where Stripe names none."""
    kind = of.method_type if isinstance(of, Attempt) else of.type
    return f"issuer:{kind}:{of.card_brand}:{of.card_country}"


@dataclass(frozen=True)
class FeatureContext:
    """A case at its `now`, a method, and `slots` (moments,), none of them before now.

    Slots are UTC epoch seconds, ascending. What is derived is computed once, when first asked for.
    """

    view: CaseView
    method: PaymentMethod
    slots: Floats
    rates: Rates = field(default_factory=Rates)
    pay_cycles: PayCycles = field(default_factory=PayCycles)

    @cached_property
    def now(self) -> float:
        """The case's now, UTC epoch seconds."""
        return self.view.now.timestamp()

    @cached_property
    def declines(self) -> list[Attempt]:
        """Declines of this method as it is now, over all invoices, oldest first."""
        return network_rules.declines_of(self.view, self.method)

    @cached_property
    def here(self) -> list[Attempt]:
        """Those of them that belong to this case."""
        return [a for a in self.declines if a.invoice_id == self.view.invoice_id]

    @cached_property
    def last_here(self) -> Attempt | None:
        """The method's last decline in this case."""
        return self.here[-1] if self.here else None

    @cached_property
    def last_any(self) -> Attempt | None:
        """The case's last attempt by anybody, on any method."""
        return self.view.attempts[-1] if self.view.attempts else None

    @cached_property
    def category(self) -> str:
        """What the method's last decline in this case was about; `none` where there is none."""
        last = self.last_here
        return codes.lookup(last.decline_code).category if last else "none"

    @cached_property
    def local(self) -> Floats:
        """The moments on the customer's wall clock, (moments,), in seconds, summer time and all."""
        zone = zone_of(self.view.customer_timezone, self.view.customer_country)
        first, last = _offset(zone, self.slots[0]), _offset(zone, self.slots[-1])
        if first == last:  # no clock changes twice within a horizon
            return np.asarray(self.slots + first)
        quarters, index = np.unique(self.slots // (DAY / 4), return_inverse=True)
        starts = np.array([_offset(zone, quarter * DAY / 4) for quarter in quarters])
        ends = np.array([_offset(zone, (quarter + 1) * DAY / 4) for quarter in quarters])
        offsets = starts[index]
        for place in np.flatnonzero((starts != ends)[index]):  # the clock changes in its quarter
            offsets[place] = _offset(zone, self.slots[place])
        return np.asarray(self.slots + offsets)

    @cached_property
    def dates(self) -> npt.NDArray[np.datetime64]:
        """The moments' days on that clock, (moments,)."""
        return self.local.astype("datetime64[s]").astype("datetime64[D]")

    @cached_property
    def past(self) -> list[Attempt]:
        """The customer's attempts on other invoices that failed at first or later, oldest first.

        Invoices that were paid at once are in no attempt log, so no model knows what they mean.
        """
        failed = {
            a.invoice_id for a in self.view.card_attempts if a.outcome is not Outcome.SUCCEEDED
        }
        told = (a for a in self.view.card_attempts if a.invoice_id in failed)
        return sorted(told, key=lambda a: a.at)

    @cached_property
    def evidence(self) -> Evidence:
        """What the customer's record, on all methods, tells of their money."""
        return evidence(
            (*self.past, *self.view.attempts),
            country=self.view.customer_country or self.method.card_country,
            timezone=self.view.customer_timezone,
        )

    @cached_property
    def money(self) -> Floats:
        """Belief in each pay cycle and how long money lasts, (cycles, depths)."""
        return self.pay_cycles.belief(self.evidence)

    @cached_property
    def belief(self) -> Floats:
        """Belief in each pay cycle, (cycles,)."""
        return np.asarray(self.money.sum(axis=1))

    @cached_property
    def waited(self) -> Floats:
        """Days since the last decline of this method, or else since the case opened, (moments,)."""
        return np.maximum(self.slots - self.since.timestamp(), 0.0) / DAY

    @cached_property
    def since(self) -> datetime:
        """When this method was last declined in the case, or else when its payment failed."""
        last = self.last_here or self.view.first_failure
        return last.at if last else self.view.opened_at

    @cached_property
    def since_payday(self) -> Floats:
        """Days since each cycle's last payday, (moments, cycles)."""
        told = self.evidence
        return days_since_payday(told.country, told.zone, self.slots)

    @cached_property
    def paid_since(self) -> npt.NDArray[np.bool_]:
        """Whether that payday lies after the decline, (moments, cycles)."""
        return self.since_payday < self.waited[:, None]


def _offset(zone: ZoneInfo, at: float) -> float:
    offset = datetime.fromtimestamp(float(at), UTC).astimezone(zone).utcoffset()
    return offset.total_seconds() if offset else 0.0


def days_since(slots: Floats, at: datetime | None) -> Floats | float:
    """Days from `at` to each of the moments, (moments,), 0 to `LONG`; `LONG` where it is None."""
    if at is None:
        return LONG
    return np.minimum(np.maximum(slots - at.timestamp(), 0.0) / DAY, LONG)
