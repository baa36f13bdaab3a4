"""The states of Stripe's objects, as far as they decide anything.

Stripe adds states, so each set has a member for what it does not know: nothing is ended or closed
on the strength of it, an invoice in such a state is not open and so not charged, and the gateway
says aloud that it was met.
"""

from enum import StrEnum


class InvoiceStatus(StrEnum):
    """Of an invoice. Only an open one is owed."""

    DRAFT = "draft"
    OPEN = "open"
    PAID = "paid"
    UNCOLLECTIBLE = "uncollectible"
    VOID = "void"
    UNKNOWN = "unknown"


class SubscriptionStatus(StrEnum):
    """Of a subscription."""

    INCOMPLETE = "incomplete"
    INCOMPLETE_EXPIRED = "incomplete_expired"
    TRIALING = "trialing"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    CANCELED = "canceled"
    UNPAID = "unpaid"
    PAUSED = "paused"
    UNKNOWN = "unknown"

    @property
    def is_ended(self) -> bool:
        """Whether nothing brings it back."""
        return self in (SubscriptionStatus.CANCELED, SubscriptionStatus.INCOMPLETE_EXPIRED)


class CollectionMethod(StrEnum):
    """How an invoice is to be paid. Only what is charged automatically may be retried."""

    CHARGE_AUTOMATICALLY = "charge_automatically"
    SEND_INVOICE = "send_invoice"
    UNKNOWN = "unknown"
