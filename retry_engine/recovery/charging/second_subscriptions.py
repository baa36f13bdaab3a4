"""Another subscription to the same thing, taken out after the failure.

Who lost their access and signed up again pays for the service there, and the old invoice is
probably not owed any more. So it is not charged, on whatever card, until a person says that it is
owed all the same; that is remembered of each subscription they were shown.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from retry_engine.domain.stripe_states import SubscriptionStatus
from retry_engine.domain.vocabulary import ReviewState
from retry_engine.recovery.cases import Reason
from retry_engine.recovery.gateway import Gateway, SubscriptionFacts
from retry_engine.store import reviews
from retry_engine.store.cases import Case

# In these somebody is served, or is going to be asked for money.
_LIVING = (
    SubscriptionStatus.ACTIVE,
    SubscriptionStatus.TRIALING,
    SubscriptionStatus.PAST_DUE,
    SubscriptionStatus.UNPAID,
)


def read(
    gateway: Gateway, case: Case, own: SubscriptionFacts | None, *, since: datetime
) -> Sequence[SubscriptionFacts]:
    """The customer's other living ones to the same price or product, made at `since` or later."""
    if own is None or not own.sells:
        return ()
    return [
        other
        for other in gateway.subscriptions_of(case.account, case.customer_id)
        if other.id != own.id
        and other.status in _LIVING
        and other.created_at is not None
        and other.created_at >= since
        and other.sells & own.sells
    ]


def reasons(connection: Connection, case: Case, found: Sequence[SubscriptionFacts]) -> list[Reason]:
    """Why a person has to look: those beside which nobody has said yet that it is owed."""
    if not found:
        return []
    accepted = reviews.named_in(connection, case.id, state=ReviewState.APPROVED)
    return [
        Reason(
            "the customer has taken out another subscription to the same product since the"
            f" failure ({other.id}): this invoice is probably not owed any more",
            about=other.id,
        )
        for other in found
        if other.id not in accepted
    ]
