"""What is done with a case, as rows of the schedule say it."""

from retry_engine.domain.vocabulary import ActionKind, ActionState

__all__ = ["ENDS", "LAST_DUTIES", "WAIT_WHILE_PAUSED", "WRITE", "ActionKind", "ActionState"]


# What becomes of an invoice whose case is over: given up on, it would be nobody's for ever.
ENDS = frozenset({ActionKind.HAND_BACK, ActionKind.KEEP_OFF, ActionKind.END})
# And what came of its last charge.
LAST_DUTIES = ENDS | {ActionKind.SETTLE}
# What charges, gives or says something.
WAIT_WHILE_PAUSED = frozenset(
    {
        ActionKind.RETRY,
        ActionKind.MESSAGE,
        ActionKind.END,
        ActionKind.OFFER,
        ActionKind.OFFER_END,
        ActionKind.CHANGE,
        ActionKind.NEW_DEFAULT,
    }
)
# And what writes to Stripe without taking or giving anything. The others look.
WRITE = WAIT_WHILE_PAUSED | {ActionKind.HAND_BACK, ActionKind.KEEP_OFF}
