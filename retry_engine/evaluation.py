"""Learning and deciding without Stripe, database or Celery: the public name of `learning.api`."""

from retry_engine.learning.api import (
    COLUMNS,
    FixedSchedule,
    LearntPolicy,
    Policy,
    fixed_schedule,
    policy_of,
    prior_policy,
    train_policy,
    view_of,
)

__all__ = [
    "COLUMNS", "FixedSchedule", "LearntPolicy", "Policy", "fixed_schedule", "policy_of",
    "prior_policy", "train_policy", "view_of",
]  # fmt: skip
