"""How it stands with what a customer was written about, as they are told and may act on.

Stripe's invoice decides first, then our case, then the subscription. A case that is closed offers
nothing that writes: its link has ended with it.
"""

from enum import StrEnum

from retry_engine.domain.case_states import CaseState, CloseReason

_SUBSCRIPTION_ENDED = ("canceled", "incomplete_expired")
# Paying the invoice is what lets these go on.
_GOES_ON = ("active", "trialing", "past_due", "incomplete")


class Standing(StrEnum):
    """The words of the page go by this name."""

    DUE = "due"  # to be paid here
    UNDER_WAY = "under_way"
    PAID = "paid"
    OVER = "over"  # void, or nobody asks for it any more
    UNCOLLECTIBLE = "uncollectible"
    CHECKED = "checked"  # a person looks first
    DISPUTED = "disputed"
    ENDED = "ended"  # still owed, of a subscription that has ended
    OWED = "owed"  # still owed, and we have done what we do


class Outlook(StrEnum):
    """What paying does for the subscription."""

    GOES_ON = "goes_on"
    PAUSED = "paused"
    ENDED = "ended"
    UNKNOWN = "unknown"  # nothing is promised


def standing_of(  # noqa: PLR0911  # one return a rule, in order
    *,
    case_state: CaseState,
    close_reason: CloseReason | None,
    invoice_status: str,
    under_way: bool,
    subscription_status: str | None,
    disputed: bool = False,
) -> Standing:
    """By the invoice's status at Stripe, the case, and the subscription's status where it has one.

    `disputed`: a dispute or warning stands that nobody has cleared.
    """
    if invoice_status != "open":
        known = {"paid": Standing.PAID, "uncollectible": Standing.UNCOLLECTIBLE}
        return known.get(invoice_status, Standing.OVER)
    if close_reason is CloseReason.DISPUTED or (disputed and case_state is CaseState.IN_REVIEW):
        return Standing.DISPUTED
    ended = subscription_status in _SUBSCRIPTION_ENDED
    if case_state is CaseState.CLOSED:
        if close_reason is CloseReason.SUBSCRIPTION_ENDED or (
            ended and close_reason is CloseReason.EXHAUSTED
        ):
            return Standing.ENDED
        return Standing.OWED if close_reason is CloseReason.EXHAUSTED else Standing.OVER
    if case_state is CaseState.IN_REVIEW:
        return Standing.CHECKED
    if under_way or case_state is CaseState.PROCESSING:
        return Standing.UNDER_WAY
    return Standing.ENDED if ended else Standing.DUE


def outlook_of(subscription_status: str | None, *, collection_paused: bool) -> Outlook:
    """What is said of the subscription, as far as its status lets anything be said."""
    if subscription_status in _SUBSCRIPTION_ENDED:
        return Outlook.ENDED
    if collection_paused or subscription_status == "paused":
        return Outlook.PAUSED
    return Outlook.GOES_ON if subscription_status in _GOES_ON else Outlook.UNKNOWN
