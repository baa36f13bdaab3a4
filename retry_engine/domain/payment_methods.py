"""A customer's saved payment method, as last read from Stripe."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentMethod:
    """`id` is Stripe's. `card_exp` is (year, month); the card works to the end of that month.

    `changed_at`: when its data last changed (automatic updater, customer), in the case's clock;
    what was declined before that says nothing of the method as it is now.
    `authenticated_at`: the customer last passed authentication on-session with it.
    `mandate_active`: False where Stripe reports its mandate inactive, None where unknown or none.
    `blocked_reason`: Stripe's own block of a bank account (its network code), else None.
    """

    id: str
    type: str = "card"
    card_brand: str | None = None
    card_funding: str | None = None
    card_country: str | None = None
    card_exp: tuple[int, int] | None = None
    card_fingerprint: str | None = None
    is_default: bool = False
    added_at: datetime | None = None
    changed_at: datetime | None = None
    authenticated_at: datetime | None = None
    mandate_active: bool | None = None
    blocked_reason: str | None = None

    @property
    def limit_key(self) -> str:
        """What the networks count by: the fingerprint, or the method where there is none."""
        return self.card_fingerprint or self.id
