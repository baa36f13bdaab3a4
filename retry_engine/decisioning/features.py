"""What the success model is told of a charge: one definition, for training and for serving.

A feature is a function of a `Scene`: one case as known at its `now`, one of the customer's methods,
and the moments at which it might be charged. It answers one number per moment, or one for all of
them. A context holds nothing from after `now`, so no feature can.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from retry_engine.decisioning import pay_cycles, paydays
from retry_engine.decisioning.pay_cycles import Evidence, PayCycles, days_since_payday, evidence
from retry_engine.decisioning.prior import PriorModel
from retry_engine.domain import codes, network_rules
from retry_engine.domain.attempts import Attempt, Outcome
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.codes import Category, Network
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.timezones import zone_of

Floats = npt.NDArray[np.float64]

_HOUR, _DAY = 3600.0, 86_400.0
_LONG = 60.0  # days that stand for "never", or longer ago than it matters
_HALF_LIFE = 30 * _DAY
_PRIOR = PriorModel()


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
    """A case at its `now`, a method, and moments (UTC epoch seconds, none before now)."""

    view: CaseView
    method: PaymentMethod
    slots: Floats
    rates: Rates = field(default_factory=Rates)
    pay_cycles: PayCycles = field(default_factory=PayCycles)

    @cached_property
    def now(self) -> float:
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
        return self.here[-1] if self.here else None

    @cached_property
    def last_any(self) -> Attempt | None:
        return self.view.attempts[-1] if self.view.attempts else None

    @cached_property
    def category(self) -> str:
        last = self.last_here
        return codes.lookup(last.decline_code).category if last else "none"

    @cached_property
    def local(self) -> Floats:
        """The moments as seconds on the customer's wall clock, daylight saving and all."""
        zone = zone_of(self.view.customer_timezone, self.view.customer_country)
        first, last = _offset(zone, self.slots[0]), _offset(zone, self.slots[-1])
        if first == last:  # no clock changes twice within a horizon
            return np.asarray(self.slots + first)
        quarters, index = np.unique(self.slots // (_DAY / 4), return_inverse=True)
        offsets = [_offset(zone, quarter * _DAY / 4) for quarter in quarters]
        return np.asarray(self.slots + np.array(offsets)[index])

    @cached_property
    def dates(self) -> npt.NDArray[np.datetime64]:
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
        """Days since the last decline of this method, or else since the case opened."""
        return np.maximum(self.slots - self.since.timestamp(), 0.0) / _DAY

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


Value = Floats | float


@dataclass(frozen=True, slots=True)
class Feature:
    """`source` says where its facts come from; `doc` is its sentence for the model card.

    `show` puts a value in a support person's words, where it has any for them.
    """

    name: str
    doc: str
    source: str
    words: str
    compute: Callable[[FeatureContext], Value]
    show: Callable[[float], str] | None = None


_REGISTRY: list[Feature] = []


def _feature(
    source: str, words: str, show: Callable[[float], str] | None = None
) -> Callable[[Callable[[FeatureContext], Value]], Callable[[FeatureContext], Value]]:
    def register(function: Callable[[FeatureContext], Value]) -> Callable[[FeatureContext], Value]:
        name = function.__name__.removeprefix("_")
        doc = (function.__doc__ or "").strip()
        _REGISTRY.append(Feature(name, doc, source, words, function, show))
        return function

    return register


def features() -> tuple[Feature, ...]:
    """All features, in the order of the columns."""
    return tuple(_REGISTRY)


# The log hazard by the documented prior: an input, and what decides where a log is thin.
PRIOR = "prior_hazard"


def column(name: str) -> int:
    """Where a feature stands in the matrix; its name is what it is found by."""
    return next(place for place, feature in enumerate(_REGISTRY) if feature.name == name)


def matrix(context: FeatureContext) -> npt.NDArray[np.float32]:
    """One row a moment, one column a feature."""
    out = np.empty((context.slots.size, len(_REGISTRY)), dtype=np.float32)
    for column, feature in enumerate(_REGISTRY):
        out[:, column] = feature.compute(context)
    return out


def _as_days(days: float) -> str:
    if days >= _LONG:
        return "never"
    return f"{days:.0f} days" if days >= 2 else f"{days * 24:.0f} hours"


def _from_log_hours(value: float) -> str:
    return _as_days(float(np.expm1(value)) / 24.0)


def _as_percent(share: float) -> str:
    return f"{share:.0%}"


def _from_log_hazard(value: float) -> str:
    return _as_percent(float(-np.expm1(-np.exp(value))))


def _as_weekday(day: float) -> str:
    names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    return names[int(day) % 7]


def _as_yes(flag: float) -> str:
    return "yes" if flag else "no"


# -- the prior's own reading: where nothing was learnt yet, it speaks


@_feature("the documented prior", "what is generally known of such declines", _from_log_hazard)
def _prior_hazard(context: FeatureContext) -> Value:
    """Log hazard of a success by the documented prior."""
    return log_hazard(_PRIOR.success_probability(context.view, context.method, context.slots))


def log_hazard(chance: Floats) -> Floats:
    """The complementary log-log of a chance."""
    clipped = np.clip(chance, 1e-4, 1 - 1e-4)
    return np.log(-np.log1p(-clipped))


# -- time


def _days_since(slots: Floats, at: datetime | None) -> Value:
    if at is None:
        return _LONG
    return np.minimum(np.maximum(slots - at.timestamp(), 0.0) / _DAY, _LONG)


@_feature("attempts", "time since this method was last tried", _from_log_hours)
def _log_gap_method(context: FeatureContext) -> Value:
    """Log of the hours since the last decline of this method in the case."""
    last = context.last_here
    return np.log1p(_days_since(context.slots, last.at if last else None) * np.float64(24.0))


@_feature("attempts", "time since the last attempt", _from_log_hours)
def _log_gap_any(context: FeatureContext) -> Value:
    """Log of the hours since anybody's last attempt in the case."""
    last = context.last_any
    return np.log1p(_days_since(context.slots, last.at if last else None) * np.float64(24.0))


@_feature("attempts", "age of the case", _as_days)
def _days_open(context: FeatureContext) -> Value:
    """Days since the failure that opened the case."""
    return _days_since(context.slots, context.view.opened_at)


@_feature("customer's timezone", "time of day")
def _hour_sin(context: FeatureContext) -> Value:
    """Local hour, sine."""
    return np.sin(context.local % _DAY / _DAY * 2 * np.pi)


@_feature("customer's timezone", "time of day")
def _hour_cos(context: FeatureContext) -> Value:
    """Local hour, cosine."""
    return np.cos(context.local % _DAY / _DAY * 2 * np.pi)


@_feature("customer's timezone", "day of the week", _as_weekday)
def _weekday(context: FeatureContext) -> Value:
    """Local day of the week, Monday 0."""
    return (context.local // _DAY + 3) % 7


@_feature("customer's timezone", "day of the month")
def _day_of_month(context: FeatureContext) -> Value:
    """Local day of the month, from 1."""
    months = context.dates.astype("datetime64[M]")
    return np.asarray((context.dates - months).astype(np.float64) + 1)


@_feature("customer's timezone", "days to the end of the month")
def _days_to_month_end(context: FeatureContext) -> Value:
    """Days to the local month's last."""
    after = (context.dates.astype("datetime64[M]") + np.timedelta64(1, "M")).astype("datetime64[D]")
    return (after - context.dates).astype(np.float64) - 1


@_feature("holidays of the country", "holiday or weekend", _as_yes)
def _is_day_off(context: FeatureContext) -> Value:
    """1 on a weekend or public holiday of the customer's country."""
    days, index = np.unique(context.dates, return_inverse=True)
    country = context.view.customer_country or context.method.card_country
    off = [float(paydays.is_day_off(country, day)) for day in days.tolist()]
    return np.asarray(np.array(off)[index], dtype=np.float64)


# -- paydays


_PAY = "pay cycles of the country and the customer's own record"


@_feature(_PAY, "whether money has come since the decline", _from_log_hazard)
def _funds_hazard(context: FeatureContext) -> Value:
    """Log hazard of finding money, over all pay cycles by the belief in them."""
    last = context.last_here
    kind = pay_cycles.kind_of(last.decline_code) if last else None
    return log_hazard(
        context.pay_cycles.chance(
            context.money,
            pay_cycles.FRESH if kind is None else kind,
            context.since_payday,
            context.waited,
        )
    )


@_feature(_PAY, "how long this customer's money lasts")
def _purse_depth(context: FeatureContext) -> Value:
    """Belief that money lasts weeks, less the belief that it is gone within days."""
    depths = context.money.sum(axis=0)
    return float(depths[-1] - depths[0])


@_feature(_PAY, "payday since the decline", _as_percent)
def _paid_since_decline(context: FeatureContext) -> Value:
    """Belief that a payday lies between the last decline and the moment."""
    return np.asarray(context.paid_since[:, :-1] @ context.belief[:-1])


@_feature(_PAY, "how fresh the last payday is")
def _payday_freshness(context: FeatureContext) -> Value:
    """Belief-weighted freshness of the last payday, e-fold in 6 days."""
    return np.asarray(np.exp(context.since_payday[:, :-1] / -6.0) @ context.belief[:-1])


@_feature(_PAY, "payday just before", _as_percent)
def _just_paid(context: FeatureContext) -> Value:
    """Belief that wages came within the last two days and after the decline."""
    fresh = (context.since_payday < 2.0) & context.paid_since
    return np.asarray(fresh[:, :-1] @ context.belief[:-1])


@_feature(_PAY, "how sure the payday is")
def _cycle_certainty(context: FeatureContext) -> Value:
    """The greatest belief in one cycle."""
    return float(context.belief.max())


@_feature(_PAY, "the likeliest payday", _as_days)
def _days_since_likeliest_payday(context: FeatureContext) -> Value:
    """Days since the last payday of the likeliest cycle."""
    return np.asarray(context.since_payday[:, int(np.argmax(context.belief[:-1]))])


# -- the customer's own rhythm, from their earlier payments and failures


@_feature("the customer's earlier payments", "this customer's own days of the month")
def _rhythm_month(context: FeatureContext) -> Value:
    """Closeness in the month to the customer's earlier payments, less that to empty accounts."""
    return _rhythm(context, 30.4375, 3.0)


@_feature("the customer's earlier payments", "this customer's own fortnights")
def _rhythm_fortnight(context: FeatureContext) -> Value:
    """The same, in their fortnights."""
    return _rhythm(context, 14.0, 2.0)


@_feature("the customer's earlier payments", "this customer's own days of the week")
def _rhythm_week(context: FeatureContext) -> Value:
    """The same, in their weeks."""
    return _rhythm(context, 7.0, 1.0)


@_feature("the customer's earlier payments", "this customer's usual time of day")
def _rhythm_day(context: FeatureContext) -> Value:
    """The same, in their days."""
    return _rhythm(context, 1.0, 0.15)


def _rhythm(context: FeatureContext, period: float, width: float) -> Value:
    told = [
        a
        for a in (*context.past, *context.view.attempts)
        if a.outcome is Outcome.SUCCEEDED or a.decline_code == "insufficient_funds"
    ][-30:]
    if not told:
        return 0.0
    at = np.array([a.at.timestamp() for a in told])
    sign = np.array([1.0 if a.outcome is Outcome.SUCCEEDED else -1.0 for a in told])
    apart = np.abs(context.slots[:, None] - at[None, :]) / _DAY % period
    apart = np.minimum(apart, period - apart)
    return np.asarray((np.exp(-apart / width) * sign).sum(axis=1) / (len(told) + 2.0))


@_feature("the customer's earlier payments", "how earlier failures of this customer ended")
def _past_share(context: FeatureContext) -> Value:
    """Share of the customer's earlier retries that succeeded, towards a third."""
    won = sum(a.outcome is Outcome.SUCCEEDED for a in context.past)
    return (won + 1.0) / (len(context.past) + 3.0)


@_feature("the customer's earlier payments", "how much is known of this customer")
def _past_attempts(context: FeatureContext) -> Value:
    """Attempts on the customer's other invoices."""
    return float(min(len(context.past), 50))


@_feature("the customer's earlier payments", "time since this customer last paid", _as_days)
def _days_since_paid(context: FeatureContext) -> Value:
    """Days since the customer's last payment after a failure."""
    paid = [a.at for a in context.past if a.outcome is Outcome.SUCCEEDED]
    return _days_since(context.slots, paid[-1] if paid else None)


@_feature("the customer's earlier payments", "how soon earlier failures were paid")
def _usual_delay(context: FeatureContext) -> Value:
    """Mean days from an earlier invoice's failure to its payment; -1 where none was."""
    first: dict[str, datetime] = {}
    delays = []
    for a in context.past:
        if a.outcome is Outcome.SUCCEEDED and a.invoice_id in first:
            delays.append((a.at - first[a.invoice_id]).total_seconds() / _DAY)
        first.setdefault(a.invoice_id, a.at)
    return float(np.mean(delays)) if delays else -1.0


@_feature("the customer's earlier payments", "past payments on this method", _as_yes)
def _method_paid_before(context: FeatureContext) -> Value:
    """1 where this method has paid an earlier invoice after a failure."""
    return float(
        any(a.outcome is Outcome.SUCCEEDED for a in context.view.attempts_on(context.method))
    )


# -- declines


def _category_flag(name: str, words: str) -> None:
    def compute(context: FeatureContext) -> Value:
        return float(context.category == name)

    doc = f"1 where the last decline of this method in the case is of the category {name}."
    _REGISTRY.append(Feature(f"last_{name}", doc, "decline codes", words, compute))


for _name, _words in (
    ("none", "not declined in this case"),
    (Category.INSUFFICIENT_FUNDS, "the account was empty"),
    (Category.ISSUER_RISK, "the bank gave no reason"),
    (Category.ISSUER_TRANSIENT, "a technical error"),
    (Category.LIMITS, "a limit was reached"),
    (Category.FRAUD, "suspected fraud"),
):
    _category_flag(_name, _words)


@_feature("decline codes", "the decline code's recent success")
def _code_rate(context: FeatureContext) -> Value:
    """Recent success of retries after the same decline code."""
    last = context.last_here
    return context.rates.of(f"code:{last.decline_code if last else None}")


@_feature("decline codes", "the issuer's recent success")
def _issuer_rate(context: FeatureContext) -> Value:
    """Recent success of retries on such cards."""
    return context.rates.of(issuer_key(context.method))


@_feature("decline codes", "first failure of the case")
def _opening_code_rate(context: FeatureContext) -> Value:
    """Recent success of retries after the code that opened the case."""
    first = context.view.first_failure
    return context.rates.of(f"code:{first.decline_code if first else None}")


@_feature("decline codes", "the account was empty before")
def _funds_count(context: FeatureContext) -> Value:
    """Insufficient-funds declines in the case, on any method."""
    return float(sum(a.decline_code == "insufficient_funds" for a in context.view.attempts))


@_feature("decline codes", "the same answer again and again")
def _same_in_a_row(context: FeatureContext) -> Value:
    """How often in a row this method gave its last code."""
    count = 0
    for attempt in reversed(context.here):
        if attempt.decline_code != context.here[-1].decline_code:
            break
        count += 1
    return float(count)


@_feature("decline codes", "different answers")
def _distinct_codes(context: FeatureContext) -> Value:
    """Different decline codes in the case."""
    return float(len({a.decline_code for a in context.view.attempts}))


@_feature("advice codes", "the bank said to try again later")
def _advised_later(context: FeatureContext) -> Value:
    """1 where the last advice for this method was try_again_later."""
    last = context.last_here
    return float(last is not None and last.advice_code == "try_again_later")


@_feature("network advice codes", "the network's waiting time")
def _advised_wait_left(context: FeatureContext) -> Value:
    """Hours left of the wait that Mastercard's advice code named; negative after it, 0 if none."""
    last = context.last_here
    hours = codes.official_wait(Network.MASTERCARD, last.network_advice_code) if last else None
    if last is None or hours is None:
        return 0.0
    return np.clip(hours - (context.slots - last.at.timestamp()) / _HOUR, -96.0, 240.0)


@_feature("Radar", "risk")
def _risk(context: FeatureContext) -> Value:
    """The last attempt's risk: 0 normal or unknown, 1 elevated, 2 highest."""
    last = context.last_any
    return {"elevated": 1.0, "highest": 2.0}.get((last.risk_level or "") if last else "", 0.0)


# -- attempts


@_feature("attempts", "attempts on this method")
def _tries_method(context: FeatureContext) -> Value:
    """Declines of this method in the case."""
    return float(len(context.here))


@_feature("attempts", "attempts so far")
def _tries(context: FeatureContext) -> Value:
    """Attempts in the case by anybody."""
    return float(len(context.view.attempts))


@_feature("attempts", "attempts within 48 hours")
def _tries_48h(context: FeatureContext) -> Value:
    """Attempts in the case within 48 hours before the moment."""
    return _within(context, 48)


@_feature("attempts", "attempts within 96 hours")
def _tries_96h(context: FeatureContext) -> Value:
    """Attempts in the case within 96 hours before the moment."""
    return _within(context, 96)


def _within(context: FeatureContext, hours: float) -> Value:
    at = np.array([a.at.timestamp() for a in context.view.attempts])
    apart = context.slots[:, None] - at[None, :]
    return np.asarray((apart < hours * _HOUR).sum(axis=1), dtype=np.float64)


# -- the method


@_feature("payment method", "the method that failed first", _as_yes)
def _is_opening_method(context: FeatureContext) -> Value:
    """1 for the method whose failure opened the case."""
    first = context.view.first_failure
    return float(first is not None and first.payment_method_id == context.method.id)


@_feature("payment method", "the card was replaced or is new", _as_yes)
def _is_new(context: FeatureContext) -> Value:
    """1 where the method was added or changed since the case opened and not declined since."""
    changed = context.method.changed_at or context.method.added_at
    return float(changed is not None and changed > context.view.opened_at and not context.here)


@_feature("payment method", "card expiry")
def _months_to_expiry(context: FeatureContext) -> Value:
    """Whole months to the card's expiry at the moment, -6 to 36; 24 where it has none."""
    if context.method.card_exp is None:
        return 24.0
    year, month = context.method.card_exp
    there = (year - 1970) * 12 + month - 1
    return np.clip(there - context.dates.astype("datetime64[M]").astype(np.float64), -6.0, 36.0)


def _funding_flag(name: str, words: str) -> None:
    def compute(context: FeatureContext) -> Value:
        return float(context.method.card_funding == name)

    doc = f"1 for a {name} card."
    _REGISTRY.append(Feature(f"is_{name}", doc, "payment method", words, compute))


for _name, _words in (
    ("credit", "credit card"),
    ("debit", "debit card"),
    ("prepaid", "prepaid card"),
):
    _funding_flag(_name, _words)


@_feature("payment method", "bank debit")
def _is_bank_debit(context: FeatureContext) -> Value:
    """1 for a method that is no card."""
    return float(context.method.type != "card")


@_feature("payment method", "card of another country")
def _is_foreign(context: FeatureContext) -> Value:
    """1 where card and customer are of different countries."""
    country = context.view.customer_country
    return float(bool(country and context.method.card_country not in (None, country)))


@_feature("payment method", "card network")
def _brand(context: FeatureContext) -> Value:
    """1 Visa, 2 Mastercard, 3 American Express, 0 other or none."""
    order = {"visa": 1.0, "mastercard": 2.0, "amex": 3.0}
    return order.get(context.method.card_brand or "", 0.0)


# -- the customer and the invoice


@_feature("invoice", "the amount")
def _log_amount(context: FeatureContext) -> Value:
    """Log of the amount owed in minor units."""
    return float(np.log1p(context.view.amount))


@_feature("invoice", "the amount against earlier payments")
def _amount_ratio(context: FeatureContext) -> Value:
    """Log of the amount over the mean that the customer paid before; 0 where none."""
    paid = [
        a.amount
        for a in context.past
        if a.outcome is Outcome.SUCCEEDED and a.currency == context.view.currency
    ]
    return float(np.log((context.view.amount + 1) / (np.mean(paid) + 1))) if paid else 0.0


@_feature("customer", "how long the customer has been here")
def _log_tenure(context: FeatureContext) -> Value:
    """Log of the days since the customer's first; -1 where unknown."""
    since = context.view.customer_since
    if since is None:
        return -1.0
    return float(np.log1p(max((context.view.now - since) / timedelta(days=1), 0.0)))


@_feature("invoice", "billing interval")
def _interval_days(context: FeatureContext) -> Value:
    """Days between invoices; 0 where unknown."""
    days: dict[str | None, float] = {"day": 1.0, "week": 7.0, "month": 30.0, "year": 365.0}
    return days.get(context.view.billing_interval, 0.0)


def words_of(name: str) -> str:
    """A feature in a support person's words."""
    return next((f.words for f in _REGISTRY if f.name == name), name)


def describe_all() -> list[dict[str, Any]]:
    """Name, type, source and meaning of each, for the model card."""
    return [
        {"name": f.name, "type": "float32", "source": f.source, "doc": f.doc} for f in _REGISTRY
    ]
