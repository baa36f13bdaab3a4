"""What a decline code means: the table `decline_codes.csv`, and what to make of an unknown one.

The waits in the table are priors, published by nobody; only Mastercard's advice codes carry
official waits, and those stand in `network_rules`.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclineCode:
    """`retryable`: may the same method be charged again unattended: `yes`, `after_change`, `no`.

    `wait_hours`: (low, high) prior for the next try, None where there is nothing to wait for.
    `discloses_reason`: False where the customer is to be told no more than "declined".
    """

    code: str
    category: str
    retryable: str
    wait_hours: tuple[float, float] | None
    customer_action: str
    discloses_reason: bool
    is_known: bool = True

    @property
    def is_technical(self) -> bool:
        """An error on the way or at the issuer, not about the card or its owner."""
        return self.category == "issuer_transient"


@cache
def table() -> Mapping[str, DeclineCode]:
    """All known codes."""
    text = (files("retry_engine.domain") / "decline_codes.csv").read_text(encoding="utf-8")
    return {row["code"]: _parse(row) for row in csv.DictReader(text.splitlines())}


@cache
def lookup(code: str | None) -> DeclineCode:
    """The code's row; no code at all reads as `generic_decline`.

    Enums are open: an unknown code is soft, worth little, and soon a case for another method.
    """
    known = table()
    if code is None or code == "card_declined":
        return known["generic_decline"]
    found = known.get(code) or known.get(code.removeprefix("partner_"))
    return found or DeclineCode(
        code=code,
        category="unknown",
        retryable="yes",
        wait_hours=(48.0, 72.0),
        customer_action="wait_or_new_method",
        discloses_reason=False,
        is_known=False,
    )


def _parse(row: Mapping[str, str]) -> DeclineCode:
    low, high = row["typical_wait_hours_low"], row["typical_wait_hours_high"]
    return DeclineCode(
        code=row["code"],
        category=row["category"],
        retryable=row["retryable_same_method"],
        wait_hours=(float(low), float(high)) if low and high else None,
        customer_action=row["customer_action"],
        discloses_reason=row["disclose_reason"] == "yes",
    )
