"""What every rule looks at: a case, one of its methods, and the attempts sorted for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from retry_engine.domain import codes
from retry_engine.domain.attempts import Attempt, Outcome
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.network_rules.evidence import declines_of, told_by_declines
from retry_engine.domain.network_rules.spans import Forbidden
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Policy


@dataclass(frozen=True, slots=True)
class Subject:
    """A case and a method, with the attempts sorted for the rules.

    `on_card`: on this card, all invoices, oldest first. `informative`: those of them that were
    declined since the card's data last changed, and so say something of it as it is. `told`: what
    declines forbid, by the rule that says so.
    """

    view: CaseView
    method: PaymentMethod
    policy: Policy
    on_card: Sequence[Attempt]
    informative: Sequence[Attempt]
    told: Sequence[Forbidden]

    @property
    def start(self) -> datetime:
        """Spans that hold already begin here."""
        return self.view.now

    @property
    def informative_here(self) -> Iterator[Attempt]:
        """The informative ones on this very invoice."""
        return (a for a in self.informative if a.invoice_id == self.view.invoice_id)


def subject_of(view: CaseView, method: PaymentMethod, policy: Policy) -> Subject:
    """The case and the method as the rules see them."""
    on_card = view.attempts_on(method)
    told = told_by_declines(view, method, on_card)
    return Subject(view, method, policy, on_card, declines_of(view, method), told)


def brand_of(s: Subject, attempt: Attempt) -> str | None:
    """The network that answered: its codes mean nothing at another."""
    return attempt.card_brand or s.method.card_brand


def is_plain_decline(s: Subject, attempt: Attempt) -> bool:
    """A decline that was not technical and that no network gave its own wait."""
    if attempt.outcome not in (Outcome.FAILED, Outcome.REQUIRES_ACTION):
        return False
    if codes.official_wait(brand_of(s, attempt), attempt.network_advice_code) is not None:
        return False
    return not codes.lookup(attempt.decline_code).is_technical
