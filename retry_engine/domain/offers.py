"""What a customer may be given for paying: how much, by which rules, and what became of it."""

from dataclasses import dataclass
from datetime import datetime

from retry_engine.domain import money
from retry_engine.domain.vocabulary import Change, OfferState, Way

__all__ = ["COMMITTED", "Change", "Offer", "OfferState", "Way", "discount_of"]


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
