"""Subscribers, what they pay with, and what a bank says to that."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """Something to pay with; `fingerprint` names the card or account behind it."""

    key: str
    type: str
    brand: str | None
    funding: str | None
    country: str
    exp_year: int | None
    exp_month: int | None
    fingerprint: str
    last4: str
    is_default: bool
    added_at: datetime
    bank_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A subscriber with a renewal that fails at `renewal_at`. `amount` in minor units."""

    key: str
    country: str
    timezone: str
    customer_since: datetime
    currency: str
    amount: int
    interval: str
    renewal_at: datetime
    instruments: tuple[Instrument, ...]
    subscription_default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A bank's answer, in Stripe's words. `settles_as`: what an accepted debit becomes later."""

    outcome: str
    decline_code: str | None = None
    advice_code: str | None = None
    network_decline_code: str | None = None
    network_advice_code: str | None = None
    outcome_type: str = "authorized"
    outcome_reason: str | None = None
    network_status: str = "approved_by_network"
    risk_level: str = "normal"
    settles_after: timedelta | None = None
    settles_as: "Answer | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnAct:
    """What a person does unasked."""

    at: datetime
    kind: str
    instrument: Instrument | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What is wrong with an instrument, until when, and how its owner's purse fills."""

    trouble: str | None
    code: str
    ends_at: datetime | None
    pay_rule: str
    phase: int
    tightness: float
    zone: str
