"""What is done with a case, as rows of the schedule say it."""

from retry_engine.domain.vocabulary import ActionKind, ActionState

__all__ = ["LAST_DUTIES", "ActionKind", "ActionState"]


# What becomes of an invoice whose case is over: given up on, it would be nobody's for ever.
LAST_DUTIES = frozenset(
    {ActionKind.HAND_BACK, ActionKind.KEEP_OFF, ActionKind.END, ActionKind.SETTLE}
)
