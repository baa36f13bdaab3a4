"""A case as known at one moment: what the planner and the rules are given."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from retry_engine.domain import codes
from retry_engine.domain.attempts import Attempt, Source
from retry_engine.domain.codes import Category
from retry_engine.domain.messages import SentMessage
from retry_engine.domain.offers import Offer
from retry_engine.domain.payment_methods import PaymentMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseView:
    """Everything a decision may use, and nothing from after `now`.

    `amount` is what is still owed in minor units of `currency`. `attempts` are everybody's on this
    invoice, oldest first; the first is the failure that opened the case, and there is none where
    nothing was saved that could be charged. `card_attempts` are everybody's on *other* invoices
    with any of `payment_methods`' cards (last 180 days), oldest first.
    `stripe_next_attempt_at` is Stripe's own planned retry, None where Stripe plans none.
    `messages` and `offers` are those about this invoice, oldest first; `last_offer_at` is when the
    customer was last offered something about another one.
    """

    case_id: str
    invoice_id: str
    customer_id: str
    account: str
    now: datetime
    opened_at: datetime
    deadline_at: datetime
    amount: int
    currency: str
    attempts: tuple[Attempt, ...]
    payment_methods: tuple[PaymentMethod, ...]
    card_attempts: tuple[Attempt, ...] = ()
    billing_reason: str | None = None
    billing_interval: str | None = None
    invoice_created_at: datetime | None = None
    customer_country: str | None = None
    customer_timezone: str | None = None
    customer_since: datetime | None = None
    stripe_next_attempt_at: datetime | None = None
    messages: tuple[SentMessage, ...] = ()
    offers: tuple[Offer, ...] = ()
    last_offer_at: datetime | None = None

    def method(self, method_id: str | None) -> PaymentMethod | None:
        """The saved method of that id, or None where it is gone."""
        return next((m for m in self.payment_methods if m.id == method_id), None)

    def attempts_on(self, method: PaymentMethod) -> tuple[Attempt, ...]:
        """Everybody's attempts on that card, over all invoices, oldest first."""
        return tuple(sorted(self._on(method), key=lambda a: a.at))

    def _on(self, method: PaymentMethod) -> Iterable[Attempt]:
        for attempt in (*self.card_attempts, *self.attempts):
            if attempt.payment_method_id == method.id or (
                attempt.card_fingerprint is not None
                and attempt.card_fingerprint == method.card_fingerprint
            ):
                yield attempt

    @property
    def first_failure(self) -> Attempt | None:
        """What opened the case; None where nothing could be charged at all."""
        return self.attempts[0] if self.attempts else None

    @property
    def last_code(self) -> str | None:
        """Why the newest attempt was declined; None too where there was none."""
        return self.attempts[-1].decline_code if self.attempts else None

    @property
    def last_category(self) -> Category:
        """Where the cause lies; unknown where nothing was tried."""
        return codes.lookup(self.last_code).category if self.attempts else Category.UNKNOWN

    @property
    def engine_attempts(self) -> int:
        """How many of the attempts were the engine's own."""
        return sum(a.source is Source.ENGINE for a in self.attempts)
