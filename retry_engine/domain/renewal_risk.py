"""What is to be expected of a charge that nobody has tried yet."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalRisk:
    """The chance of a coming charge, 0 to 1, who says so, and in a sentence why."""

    chance: float
    model_version: str
    reason: str
