"""The states of Stripe's objects, as far as they decide anything.

Stripe adds states, so each set has a member for what it does not know: nothing is ended or closed
on the strength of it, an invoice in such a state is not open and so not charged, and the gateway
says aloud that it was met.
"""

from retry_engine.domain.vocabulary import CollectionMethod, InvoiceStatus, SubscriptionStatus

__all__ = ["CollectionMethod", "InvoiceStatus", "SubscriptionStatus"]
