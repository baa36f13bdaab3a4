"""A case told like a diary: what failed when, on which method, and what is asked at which hour."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from retry_engine.decisioning import planner
from retry_engine.domain.attempts import Attempt, Outcome, Source
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.decisions import Decision
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Policy

OPENED = datetime(2026, 3, 10, 9, tzinfo=UTC)  # a Tuesday


def at(text: str) -> datetime:
    """A moment, as in `2026-03-10T09:00`, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def card(name: str = "main", **details: Any) -> PaymentMethod:
    """A saved Visa debit card from Germany; the one called `main` is the default."""
    known: dict[str, Any] = {
        "id": f"pm_{name}", "card_brand": "visa", "card_funding": "debit", "card_country": "DE",
        "card_exp": (2029, 12), "card_fingerprint": f"fp_{name}", "is_default": name == "main",
    }  # fmt: skip
    return PaymentMethod(**{**known, **details})


@dataclass(frozen=True)
class Diary:
    """One case; every method gives a new diary, so that a story can branch."""

    methods: tuple[PaymentMethod, ...] = field(default_factory=lambda: (card(),))
    attempts: tuple[Attempt, ...] = ()
    policy: Policy = field(default_factory=Policy)
    details: dict[str, Any] = field(default_factory=dict)

    def declined(
        self, code: str | None, *, hours: float = 0, on: str = "main", **more: Any
    ) -> "Diary":
        """A decline, that many hours after the case opened."""
        method = next(m for m in self.methods if m.id == f"pm_{on}")
        known: dict[str, Any] = {
            "at": OPENED + timedelta(hours=hours), "source": Source.STRIPE,
            "outcome": Outcome.FAILED, "amount": 2900, "currency": "eur", "invoice_id": "in_1",
            "payment_method_id": method.id, "method_type": method.type,
            "card_brand": method.card_brand, "card_country": method.card_country,
            "card_fingerprint": method.card_fingerprint, "decline_code": code,
        }  # fmt: skip
        return replace(self, attempts=(*self.attempts, Attempt(**{**known, **more})))

    def but(self, **details: Any) -> "Diary":
        """The same with other details of the case."""
        return replace(self, details={**self.details, **details})

    def under(self, **sections: Any) -> "Diary":
        """The same under a policy with other sections."""
        return replace(self, policy=replace(self.policy, **sections))

    def view(self, *, hours: float = 1) -> CaseView:
        """The case as known that many hours after it opened."""
        known: dict[str, Any] = {
            "case_id": "rc_1", "invoice_id": "in_1", "customer_id": "cus_1", "account": "",
            "now": OPENED + timedelta(hours=hours), "opened_at": OPENED,
            "deadline_at": OPENED + timedelta(days=30), "amount": 2900, "currency": "eur",
            "attempts": self.attempts, "payment_methods": self.methods, "customer_country": "DE",
        }  # fmt: skip
        return CaseView(**{**known, **self.details})

    def decides(self, *, hours: float = 1) -> Decision:
        """What the planner makes of it that many hours after the case opened."""
        return planner.decide(self.view(hours=hours), policy=self.policy)


def words(decision: Decision) -> str:
    """All its reasons as one text."""
    return " | ".join(reason.text for reason in decision.reasons)
