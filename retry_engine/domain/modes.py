"""Who retries: the engine, or Stripe."""

from enum import StrEnum


class Mode(StrEnum):
    """Of the engine, and of a case as it was opened. The engine itself is never in `holdout`."""

    TAKEOVER = "takeover"  # the engine owns the retries
    SHADOW = "shadow"  # it watches, and records what it would have done
    HOLDOUT = "holdout"  # Stripe retries, so that the two can be compared
