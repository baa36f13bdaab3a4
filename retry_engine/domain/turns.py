"""Who goes first where several invoices of one customer wait for the same card."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from retry_engine.domain.policy import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class CardCharge:
    """A charge that is planned. Money in minor units; `expected_value` as its decision saw it.

    `by_person`: somebody asked for it, and goes before whatever the engine had in mind.
    """

    case_id: str
    invoice_id: str
    due_at: datetime
    opened_at: datetime
    deadline_at: datetime
    amount: int
    currency: str
    expected_value: int
    by_person: bool = False
    tried_at: datetime | None = None  # when the engine last charged for it

    @property
    def rank(self) -> tuple[bool, float, int, int, float, str]:
        """The greater goes first: whose last turn was longest ago, then by what it is worth, then
        what is owed, then the older. So nobody waits for the other's second turn."""
        waited = -self.tried_at.timestamp() if self.tried_at else float("inf")
        age = -self.opened_at.timestamp()
        return (self.by_person, waited, self.expected_value, self.amount, age, self.case_id)


def waits_for(
    mine: CardCharge, others: Iterable[CardCharge], *, now: datetime, limits: Limits
) -> CardCharge | None:
    """The charge that goes before `mine` on their card, None where `mine` is next.

    Only one that `mine` would be in the way of: it is due before the gap after `mine` ends. Nobody
    waits for what is so late that it will be planned anew, or until their time is up. Worth in two
    currencies cannot be compared: there who is due first goes first.
    """
    if mine.by_person:
        return None
    gap = timedelta(hours=max(limits.min_gap_hours, limits.min_gap_after_decline_hours))
    late = timedelta(hours=limits.late_action_hours)
    before = [
        other
        for other in others
        if (other.by_person or other.currency == mine.currency)
        and other.rank > mine.rank
        and now - late <= other.due_at < now + gap
        and max(other.due_at, now) + gap < mine.deadline_at
    ]
    return min(before, key=lambda other: other.due_at, default=None)
