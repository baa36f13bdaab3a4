"""What is done with a case, as rows of the schedule say it."""

from enum import StrEnum


class ActionKind(StrEnum):
    """What a row of the schedule asks for."""

    REFRESH = "refresh"  # look at Stripe again
    RETRY = "retry"  # charge
    SETTLE = "settle"  # find out what came of a charge
    HAND_BACK = "hand_back"  # give the invoice's retries back to Stripe
    KEEP_OFF = "keep_off"  # see to it that nobody charges any more, nor Stripe
    END = "end"  # what the policy wants where all was tried
    MESSAGE = "message"
    OFFER = "offer"  # carry out what a customer took
    OFFER_END = "offer_end"
    CHANGE = "change"  # carry out what a customer changed
    NEW_DEFAULT = "new_default"


# What becomes of an invoice whose case is over: given up on, it would be nobody's for ever.
LAST_DUTIES = frozenset(
    {ActionKind.HAND_BACK, ActionKind.KEEP_OFF, ActionKind.END, ActionKind.SETTLE}
)


class ActionState(StrEnum):
    """How far a row of the schedule has come."""

    PLANNED = "planned"
    CLAIMED = "claimed"
    DONE = "done"
    CANCELLED = "cancelled"
