"""Who answers for payment methods of their own: the banks of a population."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from retry_engine.sandbox.objects import Obj


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerAnswer:
    """A bank's answer, in Stripe's words. `settles_as`: what an accepted debit becomes later."""

    outcome: str
    decline_code: str | None = None
    advice_code: str | None = None
    network_decline_code: str | None = None
    network_advice_code: str | None = None
    outcome_type: str = "authorized"
    outcome_reason: str | None = None
    network_status: str = "approved_by_network"
    risk_level: str = "normal"
    settles_after: timedelta | None = None
    settles_as: "IssuerAnswer | None" = None


class Issuer(Protocol):
    """Who answers for methods of its own; None for all others."""

    def answer(
        self, method: Obj, *, amount: int, at: datetime, on_session: bool,
        previous: Sequence[datetime],
    ) -> IssuerAnswer | None:  # fmt: skip
        """The bank's answer to a charge."""

    def challenges(
        self, method: Obj, *, amount: int, at: datetime, previous: Sequence[datetime]
    ) -> bool | None:
        """Whether the bank wants a customer who is there to prove themselves."""

    def method_behind(self, number: str) -> Obj | None:
        """A new method for a card number that is one of theirs."""
