"""What Stripe tells of a payment that somebody contests."""

from enum import StrEnum


class RiskFlagKind(StrEnum):
    """What was raised against a charge."""

    DISPUTE = "dispute"
    EARLY_FRAUD_WARNING = "early_fraud_warning"
