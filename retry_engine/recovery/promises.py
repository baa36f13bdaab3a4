"""A discount is promised: budgets are used when an offer is made, so that it can be had."""

from datetime import timedelta

from retry_engine.domain.actions import ActionKind
from retry_engine.domain.errors import Refused
from retry_engine.domain.offers import Way
from retry_engine.domain.policy import Offers
from retry_engine.recovery.cases import CaseContext
from retry_engine.store import offers, reviews, schedule
from retry_engine.store.cases import Case
from retry_engine.store.offers import StoredOffer


class NeedsAPerson(Refused):
    """The offer is larger than the policy lets pass without somebody's approval."""


def promise(
    context: CaseContext, case: Case, *, discount: int, decision_id: int | None, terms: Offers
) -> StoredOffer | None:
    """Promise the discount, in the transaction of the message that says so; None: it may not be.

    Raises:
        NeedsAPerson: a person has to approve it first.
    """
    if 0 < terms.review_above < discount <= case.amount_remaining:
        approved = reviews.approved_offer(context.connection, case.id)
        if approved < discount:
            raise NeedsAPerson(f"an offer of more than {terms.review_above} waits for a person")
    if discount >= case.amount_remaining:
        return None
    if terms.way == Way.COUPON and case.subscription_id is None:
        return None
    until = context.now + timedelta(days=terms.valid_days)
    made = offers.reserve(
        context.connection,
        month_budget=terms.month_budget,
        customer_budget=terms.customer_budget,
        case_id=case.id,
        account=case.account,
        customer_id=case.customer_id,
        decision_id=decision_id,
        at=context.now,
        until=until,
        amount=discount,
        currency=case.currency,
        way=terms.way,
    )
    if made is not None:
        schedule.plan(context.connection, case, ActionKind.OFFER_END, at=until)
    return made
