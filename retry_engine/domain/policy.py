"""The policy: every knob of a decision, with its unit. Parsed and validated in `settings`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


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
    on_dispute: str = "review"  # or "close"


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
    business: str = ""
    reply_to: str = ""
    language: str = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """`[end]`: what becomes of subscription and invoice when a case is exhausted."""

    hand_back: bool = True
    subscription: str = "leave"  # or "pause", "cancel"
    mark_uncollectible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One version of the whole; `version` names its content. A case keeps the one it opened on."""

    version: str = "default"
    value: Value = field(default_factory=Value)
    limits: Limits = field(default_factory=Limits)
    methods: Methods = field(default_factory=Methods)
    comparison: Comparison = field(default_factory=Comparison)
    review: Review = field(default_factory=Review)
    messages: Messages = field(default_factory=Messages)
    end: End = field(default_factory=End)


def from_content(content: Mapping[str, Any]) -> Policy:
    """The policy whose `dataclasses.asdict` that is, as stored with the cases that run on it.

    Knobs added since then have their defaults; knobs removed since then are dropped.
    """
    sections = {f.name: f.default_factory for f in fields(Policy) if f.name != "version"}
    parts: dict[str, Any] = {}
    for name, section in sections.items():
        known = {f.name for f in fields(section)}  # type: ignore[arg-type]  # each is a dataclass
        parts[name] = section(**{k: v for k, v in content.get(name, {}).items() if k in known})  # type: ignore[operator]
    return Policy(version=content["version"], **parts)
