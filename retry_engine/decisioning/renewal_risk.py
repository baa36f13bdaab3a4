"""The chance of a renewal's charge on a method whose last one failed, as the planner would see it.

The model is asked about the case that the method was last declined in, at the moment of the
renewal: it knows nothing of first charges, as those that go well are in no attempt log. The rules
are asked about the new invoice: what they forbade about the old one alone does not hold any more.
"""

from dataclasses import replace
from datetime import datetime

import numpy as np

from retry_engine.decisioning import planner, reasons
from retry_engine.decisioning.prior import PriorModel, SuccessModel
from retry_engine.domain import network_rules
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Policy
from retry_engine.domain.renewal_risk import RenewalRisk

# No invoice has that id, also none of which we do not know the id.
_COMING = "coming"
# About the amount, which is not the card's doing.
_NOT_THE_CARDS = "below_minimum"


def of_charge(
    view: CaseView,
    method: PaymentMethod,
    at: datetime,
    *,
    policy: Policy,
    model: SuccessModel | None = None,
) -> RenewalRisk | None:
    """What a charge of `view.amount` on that method at that moment would come to.

    0 where the networks' rules forbid it for as long as the card stays as it is. None where its
    owner is not to be written to about it: a person decides (suspected fraud, consent withdrawn).
    """
    if planner.needs_a_person((*view.attempts, *view.attempts_on(method))) is not None:
        return None
    model = model or PriorModel()
    forbidden = _forbidden_for_good(view, method, at, policy)
    if forbidden is not None:
        return RenewalRisk(chance=0.0, model_version=model.version, reason=forbidden)
    (chance,) = model.success_probabilities([(view, method, np.array([at.timestamp()]))])
    told = reasons.of_charge(view, method, at, model=model)
    return RenewalRisk(
        chance=float(chance[0]),
        model_version=model.version,
        reason="; ".join(reason.text for reason in told),
    )


def _forbidden_for_good(
    view: CaseView, method: PaymentMethod, at: datetime, policy: Policy
) -> str | None:
    coming = replace(
        view,
        invoice_id=_COMING,
        attempts=(),
        card_attempts=tuple(sorted((*view.card_attempts, *view.attempts), key=lambda a: a.at)),
    )
    # Stripe itself announces a renewal's debit to an Indian issuer, as nobody does for a retry
    policy = replace(policy, methods=replace(policy.methods, retry_indian_cards=True))
    for span in network_rules.forbidden(coming, method, policy=policy):
        lasts = span.until is None or span.rule in network_rules.ABOUT_THE_CARD
        if lasts and span.holds_at(at) and span.rule != _NOT_THE_CARDS:
            return span.detail
    return None
