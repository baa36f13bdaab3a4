"""What a planner answers, and why."""

from dataclasses import dataclass
from datetime import datetime

from retry_engine.domain.messages import MessageKind
from retry_engine.domain.vocabulary import DecisionKind

__all__ = ["Candidate", "Decision", "DecisionKind", "Reason"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One thing that could have been done. `expected_value`: minor units, of the rest of the case.

    `forbidden_by` names the rule that excluded it, with `success_probability` then as it would be.
    """

    payment_method_id: str
    at: datetime
    success_probability: float
    expected_value: int
    forbidden_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One sentence for a support person. `points`: effect on the chance, percentage points."""

    text: str
    points: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The plan until something happens. `retry_at` and `payment_method_id` only with RETRY.

    `message_at`: when to write to the customer besides, None where nothing is worth saying;
    `discount` is offered with that message, minor units. `offer_propensity`: of that discount, or
    of none, among those that could have been offered; None where none could.
    """

    kind: DecisionKind
    reasons: tuple[Reason, ...]
    candidates: tuple[Candidate, ...]
    model_version: str
    retry_at: datetime | None = None
    payment_method_id: str | None = None
    success_probability: float | None = None
    expected_value: int = 0
    propensity: float = 1.0
    message_at: datetime | None = None
    message_kind: MessageKind | None = None
    discount: int = 0
    offer_propensity: float | None = None
