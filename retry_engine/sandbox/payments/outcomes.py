"""How a charge can end, and what usually comes with a decline code."""

from dataclasses import dataclass
from typing import Any

DEBITS = ("sepa_debit", "us_bank_account", "bacs_debit")

# Billing's own list: it schedules and counts after these, but charges only another method.
HARD_CODES = frozenset(
    {
        "incorrect_number", "lost_card", "pickup_card", "stolen_card", "authentication_required",
        "revocation_of_authorization", "revocation_of_all_authorizations", "highest_risk_level",
        "transaction_not_allowed",
    }
)  # fmt: skip

# Declines whose `code` is not the general card_declined.
_OWN_CODES = frozenset(
    {"expired_card", "incorrect_cvc", "incorrect_number", "incorrect_zip", "processing_error",
     "invalid_expiry_month", "invalid_expiry_year", "invalid_cvc", "authentication_required"}
)  # fmt: skip

_BLOCKS = frozenset(
    {
        "highest_risk_level",
        "rule",
        "previously_declined_do_not_retry",
        "low_probability_of_authorization",
    }
)

_RISKS = {"highest_risk_level": "highest"}

_ADVICE = {
    "lost_card": "do_not_try_again",
    "stolen_card": "do_not_try_again",
    "pickup_card": "do_not_try_again",
    "invalid_account": "do_not_try_again",
    "revocation_of_authorization": "do_not_try_again",
    "revocation_of_all_authorizations": "do_not_try_again",
    "transaction_not_allowed": "do_not_try_again",
    "expired_card": "confirm_card_data",
    "incorrect_cvc": "confirm_card_data",
    "incorrect_number": "confirm_card_data",
    "insufficient_funds": "try_again_later",
    "issuer_not_available": "try_again_later",
    "processing_error": "try_again_later",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one charge ends. `outcome`: succeeded, failed, requires_action or processing."""

    outcome: str
    decline_code: str | None = None
    advice_code: str | None = None
    network_advice_code: str | None = None
    network_decline_code: str | None = None
    outcome_type: str = "authorized"
    reason: str | None = None
    network_status: str = "approved_by_network"
    risk_level: str = "normal"
    settles_after: int | None = None  # seconds
    settles_as: "Verdict | None" = None
    then: "Verdict | None" = None
    asks_on_session: bool = False
    debit: bool = False

    @property
    def code(self) -> str:
        """The coarse code of the error."""
        decline = self.decline_code or "card_declined"
        return decline if self.debit or decline in _OWN_CODES else "card_declined"


SUCCEEDED = Verdict(outcome="succeeded")


def declined(decline_code: str, **more: Any) -> Verdict:
    """A decline with the fields that usually come with the code."""
    blocked = decline_code in _BLOCKS
    kind = more.pop("outcome_type", None) or ("blocked" if blocked else "issuer_declined")
    sent = "not_sent_to_network" if kind in ("blocked", "invalid") else "declined_by_network"
    advice = more.pop("advice_code", _ADVICE.get(decline_code))
    return Verdict(
        outcome="requires_action" if decline_code == "authentication_required" else "failed",
        decline_code="generic_decline" if blocked else decline_code,
        advice_code=advice,
        outcome_type=kind,
        risk_level=more.pop("risk_level", None) or _RISKS.get(decline_code, "normal"),
        reason=more.pop("reason", None) or decline_code,
        network_status=more.pop("network_status", None) or sent,
        **more,
    )
