"""What is said to a customer about an unpaid invoice, and when it may be."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class MessageKind(StrEnum):
    """What a message asks for. None of them names the bank's reason."""

    UPDATE_METHOD = "update_method"  # the saved method cannot be charged any more
    AUTHENTICATE = "authenticate"  # the bank wants its customer to confirm
    CARD_EXPIRING = "card_expiring"  # before the next renewal, which has not failed yet
    RENEWAL_AT_RISK = "renewal_at_risk"  # the same, where the method will hardly be chargeable
    PAYMENT_FAILED = "payment_failed"  # another attempt will come; the customer may be quicker


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One that was sent, or may have been; `at` is on the case's clock."""

    at: datetime
    kind: MessageKind | None = None
    visited: bool = False  # its link was followed
