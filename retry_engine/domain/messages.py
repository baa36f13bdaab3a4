"""What is said to a customer about an unpaid invoice, and when it may be."""

from dataclasses import dataclass
from datetime import datetime

from retry_engine.domain.vocabulary import MessageKind

__all__ = ["MessageKind", "SentMessage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SentMessage:
    """One that was sent, or may have been; `at` is on the case's clock."""

    at: datetime
    kind: MessageKind | None = None
    visited: bool = False  # its link was followed
