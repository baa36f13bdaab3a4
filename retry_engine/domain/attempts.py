"""What is known of one try to collect an invoice, whoever made it."""

from dataclasses import dataclass
from datetime import datetime

from retry_engine.domain.vocabulary import Outcome, Source

__all__ = ["Attempt", "Outcome", "Source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt on one payment method, at a time of its case's clock (UTC).

    `card_fingerprint` and `card_exp` (year, month) are the card's as it was then.

    Codes are Stripe's (`decline_code`, `advice_code`) and the network's own, which mean different
    things per `card_brand`. `outcome_type` and `outcome_reason` are those of `charge.outcome`;
    `issuer_declined`, `blocked` (Stripe did not send it) and so on.
    """

    at: datetime
    source: Source
    outcome: Outcome
    amount: int
    currency: str
    invoice_id: str
    payment_method_id: str | None = None
    method_type: str = "card"
    card_brand: str | None = None
    card_country: str | None = None
    card_fingerprint: str | None = None
    card_exp: tuple[int, int] | None = None
    decline_code: str | None = None
    advice_code: str | None = None
    network_advice_code: str | None = None
    network_decline_code: str | None = None
    outcome_type: str | None = None
    outcome_reason: str | None = None
    risk_level: str | None = None
    charge_id: str | None = None
    idempotency_key: str | None = None

    @property
    def is_resolved(self) -> bool:
        """A definite answer is known; only then may another attempt follow."""
        return self.outcome not in (Outcome.UNKNOWN, Outcome.PROCESSING)
