"""What a customer may be given for paying: how much, by which rules, and what became of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from retry_engine.domain import money


class OfferState(StrEnum):
    """An offer's life. Money is only given from TAKING on, and taken back in ENDING."""

    OPEN = "open"  # promised in a message; the customer may take it
    TAKING = "taking"  # taken; whether Stripe has lowered the invoice yet is not known
    TAKEN = "taken"  # Stripe has lowered the invoice
    ENDING = "ending"  # taken and not paid in time; it is being voided
    EXPIRED = "expired"  # never taken
    WITHDRAWN = "withdrawn"  # taken, not paid in time, and voided
    REFUSED = "refused"  # Stripe would not lower the invoice


class Way(StrEnum):
    """What a discount is."""

    CREDIT_NOTE = "credit_note"  # lowers the unpaid invoice
    COUPON = "coupon"  # lowers the renewal after it


class Change(StrEnum):
    """What a customer may change by themselves, where the policy lets them."""

    BILLING_DAY = "billing_day"  # renewals come on another day; the days between are given
    PAUSE = "pause"  # no renewals for some months


# What still is, or may yet become, money given away.
COMMITTED = (OfferState.OPEN, OfferState.TAKING, OfferState.TAKEN, OfferState.ENDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One that was made about a case's invoice; `amount` is the discount, minor units."""

    at: datetime
    amount: int
    state: OfferState


def discount_of(percent: int, owed: int, currency: str, *, most: int) -> int:
    """So many percent of what is owed, minor units; 0 where that cannot be given.

    Rounded in the customer's favour to the currency's step and never above `most`. What remains
    stays chargeable: Stripe writes off less than its smallest charge and bills it later.
    """
    step = money.step(currency)
    wanted = -(-owed * percent // (100 * step)) * step
    allowed = min(most, owed - money.minimum_charge(currency)) // step * step
    return max(min(wanted, allowed), 0)
