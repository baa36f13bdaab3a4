"""Subscribers, what they pay with, and what a bank says to that."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from retry_engine.sandbox.accounts.issuers import IssuerAnswer


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


class Simulation(Protocol):
    """Who the people are, what their banks answer, and what they do unasked."""

    @property
    def people(self) -> Sequence[Person]:
        """Everybody."""

    def authorize(
        self, instrument_key: str, *, amount: int, at: datetime, on_session: bool,
        previous: Sequence[datetime],
    ) -> IssuerAnswer:  # fmt: skip
        """The bank's answer to a charge."""

    def own_acts(
        self, person_key: str, *, failed_at: datetime, horizon_end: datetime
    ) -> Sequence[OwnAct]:
        """What the person does about a failed payment by themselves."""
