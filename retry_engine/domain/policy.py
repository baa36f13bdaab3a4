"""The policy: every knob of a decision, with its unit. Parsed and validated in `settings`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from retry_engine.domain.vocabulary import (
    BillingReason,
    OnDispute,
    SubscriptionEnd,
    Unanswered,
    Way,
    WayBack,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """`[value]`: what things are worth. Money is minor units of the case's currency."""

    attempt_cost: int = 10
    message_cost: int = 5
    rule_breach_cost: int = 10_000
    margin: float = 1.0
    lifetime_value_multiple: float = 0.0
    churn_per_day: float = 0.012
    attempt_shadow_price_share: float = 0.01
    explore: float = 0.0
    explore_scale: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`[limits]`: ceilings. The networks' own stand in `network_rules` and cannot be lifted."""

    horizon_days: int = 30
    max_attempts: int = 8
    max_attempts_per_card_30_days: int = 15
    min_gap_hours: float = 24.0
    min_gap_after_decline_hours: float = 48.0
    unknown_code_retries: int = 1
    unknown_code_gap_hours: float = 48.0
    quiet_zone_hours: float = 12.0
    first_invoice_hours: float = 23.0
    late_action_hours: float = 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """`[cases]`: which failed invoices are recovered; an on-session purchase is not a renewal."""

    billing_reasons: tuple[BillingReason, ...] = (
        BillingReason.SUBSCRIPTION_CYCLE,
        BillingReason.SUBSCRIPTION_THRESHOLD,
        BillingReason.SUBSCRIPTION_UPDATE,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Methods:
    """`[methods]`: on what may be charged."""

    charge_backups: bool = True
    retry_indian_cards: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`[comparison]`: the share of customers left to Stripe for measuring lift, 0 to 1."""

    holdout: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """`[review]`: what waits for a person. Money is minor units; 0 = no such limit."""

    amount_above: int = 0
    deadline_hours: float = 72.0
    dispute_days: int = 120
    on_dispute: OnDispute = OnDispute.REVIEW
    unanswered: Unanswered = Unanswered.WAIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """`[messages]`: whether, how often and at which local hours customers are written to."""

    enabled: bool = True
    quiet_from_hour: int = 21
    quiet_until_hour: int = 8
    quiet_on_days_off: bool = False
    most_per_case: int = 4
    most_per_customer_30_days: int = 6
    min_gap_hours: float = 72.0
    stripe_mails: bool = False
    before_renewal: bool = True
    renewal_chance_below: float = 0.35
    way_back: WayBack = WayBack.PAGE
    portal_link: bool = False
    business: str = ""
    reply_to: str = ""
    language: str = "en"


# What an offer may depend on. Nothing here is, or stands in for, a protected attribute.
OFFER_FEATURES = (
    "amount", "billing_interval", "came_and_left", "customer_for", "decline_category",
    "messages_before", "retry_planned",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """`[offers]`: whether, to whom and how much is given. Money is minor units of any currency."""

    enabled: bool = False
    way: Way = Way.CREDIT_NOTE
    max_discount_percent: int = 20
    after_messages: int = 1
    least_gain_share: float = 0.01
    randomised: float = 0.0
    month_budget: int = 100_000
    customer_budget: int = 10_000
    case_budget: int = 5_000
    review_above: int = 0
    cool_down_days: int = 180
    valid_days: int = 10
    pay_within_days: int = 3
    free_days: int = 0
    pause_months: int = 0
    features: tuple[str, ...] = OFFER_FEATURES


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """`[end]`: what becomes of subscription and invoice when a case is exhausted."""

    hand_back: bool = True
    subscription: SubscriptionEnd = SubscriptionEnd.LEAVE
    mark_uncollectible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`[report]`: the currency of a total, and what one unit of another is worth in it.

    It decides nothing about a case, so that it is no part of a policy's version.
    """

    currency: str = ""
    rates: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One version of the whole; `version` names its content. A case keeps the one it opened on."""

    version: str = "default"
    value: Value = field(default_factory=Value)
    limits: Limits = field(default_factory=Limits)
    cases: Cases = field(default_factory=Cases)
    methods: Methods = field(default_factory=Methods)
    comparison: Comparison = field(default_factory=Comparison)
    review: Review = field(default_factory=Review)
    messages: Messages = field(default_factory=Messages)
    offers: Offers = field(default_factory=Offers)
    end: End = field(default_factory=End)
    report: Report = field(default_factory=Report)


SECTIONS: Mapping[str, Any] = {
    f.name: getattr(Policy(), f.name) for f in fields(Policy) if f.name != "version"
}


def from_content(content: Mapping[str, Any]) -> Policy:
    """The policy whose `dataclasses.asdict` that is, as stored with the cases that run on it.

    Knobs added since then have their defaults; knobs removed since then are dropped.
    """
    parts: dict[str, Any] = {}
    for name, section in SECTIONS.items():
        known = {f.name: getattr(section, f.name) for f in fields(section)}
        given = {
            key: _as_held(key, value, known[key])
            for key, value in content.get(name, {}).items()
            if key in known
        }
        parts[name] = replace(section, **given)
    return replace(Policy(version=content["version"]), **parts)


def _as_held(key: str, value: Any, default: Any) -> Any:
    """A value as the policy holds it: JSON has lists and texts only."""
    if key == "billing_reasons":
        return tuple(BillingReason(reason) for reason in value)
    if isinstance(default, StrEnum):
        return type(default)(value)
    return tuple(value) if isinstance(value, list) else value
