"""Decides for one case, by the model in use and within what this installation can do."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from retry_engine.domain.case_view import CaseView
from retry_engine.domain.decisions import Decision, Reason
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Messages, Policy
from retry_engine.domain.renewal_risk import RenewalRisk

if TYPE_CHECKING:  # numpy: loaded where something is decided, and nowhere else
    from retry_engine.decisioning.planner import Curve
    from retry_engine.decisioning.reasons import Charge
    from retry_engine.decisioning.success_model import LearntModel

PRIOR_VERSION = "prior-1"


class Model(Protocol):
    """The success model in use."""

    def __call__(self) -> "LearntModel | None":
        """The model that decides now; None: the documented prior does."""


def prior_only() -> None:
    """No model is used, whichever is promoted: for processes that must stay light."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """`speaks`: there is a channel to customers. `has_pages`: their links lead somewhere."""

    model: Model
    current: Policy
    speaks: bool
    has_pages: bool

    def decide(self, view: CaseView, policy: Policy) -> Decision:
        """What to do with a case, by its own policy."""
        from retry_engine.decisioning import planner  # noqa: PLC0415  # numpy

        return planner.decide(view, policy=self._feasible(policy), model=self.model())

    def _feasible(self, policy: Policy) -> Policy:
        """That policy, without what could not be kept."""
        if not self.speaks:  # nobody is promised a letter that cannot be sent
            policy = replace(policy, messages=replace(policy.messages, enabled=False))
        # nor an offer that cannot be taken, or that nobody tells of
        if not self.has_pages or policy.messages.stripe_mails:
            policy = replace(policy, offers=replace(policy.offers, enabled=False))
        return policy

    def curves(self, view: CaseView, policy: Policy) -> "tuple[str, list[Curve]]":
        """The version that decides now, and each method's chance over the days to come."""
        from retry_engine.decisioning import planner  # noqa: PLC0415  # numpy

        model = self.model()
        version = model.version if model else PRIOR_VERSION
        return version, list(planner.curves(view, policy=policy, model=model))

    def compared(
        self, view: CaseView, asked: "Charge", chosen: "Charge | None"
    ) -> tuple[float, float | None, tuple[Reason, ...]]:
        """The chances of two charges by the model that decides now, and why they are not the same.

        Points are of the first against the second.
        """
        from retry_engine.decisioning import planner  # noqa: PLC0415  # numpy

        return planner.compared(view, asked, chosen, model=self.model())

    @staticmethod
    def in_words(method: PaymentMethod) -> str:
        """A method without its number: `default Visa debit card`."""
        from retry_engine.decisioning import reasons  # noqa: PLC0415  # numpy

        return reasons.describe(method)

    def renewal_risk(
        self, view: CaseView, method: PaymentMethod, at: datetime
    ) -> RenewalRisk | None:
        """How likely a renewal's charge fails; None where nobody is to be written to."""
        from retry_engine.decisioning import renewal_risk  # noqa: PLC0415  # numpy

        return renewal_risk.of_charge(view, method, at, policy=self.current, model=self.model())

    def is_quiet(self, view: CaseView, at: datetime, message_policy: Messages) -> bool:
        """Whether a case's customer is not to be written to at that moment."""
        return self.is_quiet_there(
            view.customer_timezone, view.customer_country, at, message_policy
        )

    @staticmethod
    def is_quiet_there(
        timezone: str | None, country: str | None, at: datetime, message_policy: Messages
    ) -> bool:
        """Whether nobody in that zone and country is to be written to at that moment."""
        from retry_engine.decisioning import dunning  # noqa: PLC0415  # numpy

        return dunning.is_quiet_there(timezone, country, at, message_policy)
