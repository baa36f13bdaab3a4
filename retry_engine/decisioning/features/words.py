"""Values of features in a support person's words."""

import numpy as np

from retry_engine.decisioning.features.context import LONG


def as_days(days: float) -> str:
    """Days in words; `LONG` and above is never."""
    if days >= LONG:
        return "never"
    return f"{days:.0f} days" if days >= 2 else f"{days * 24:.0f} hours"


def from_log_hours(value: float) -> str:
    """The log of hours and one, in words."""
    return as_days(float(np.expm1(value)) / 24.0)


def as_percent(share: float) -> str:
    """A share in per cent."""
    return f"{share:.0%}"


def from_log_hazard(value: float) -> str:
    """A log hazard as the chance it stands for, in per cent."""
    return as_percent(float(-np.expm1(-np.exp(value))))


def as_weekday(day: float) -> str:
    """A day of the week by its name, Monday 0."""
    names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    return names[int(day) % 7]


def as_yes(flag: float) -> str:
    """A flag in words."""
    return "yes" if flag else "no"
