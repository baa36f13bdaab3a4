"""A failed invoice on which nothing could be charged at all: nobody may presume an attempt."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from diary import OPENED, Diary, card
from hypothesis import given, settings
from hypothesis import strategies as st

from retry_engine.decisioning import (
    discounts,
    dunning,
    features,
    fixed_schedule,
    planner,
    renewal_risk,
)
from retry_engine.decisioning.features import FeatureContext, Rates
from retry_engine.decisioning.pay_cycles import PayCycles
from retry_engine.decisioning.prior import PriorModel, SuccessModel
from retry_engine.decisioning.success_model import Calibrator, LearntModel, pooling_group
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.decisions import DecisionKind
from retry_engine.domain.messages import MessageKind, SentMessage
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Offers, Policy

_DEBIT = PaymentMethod(id="pm_debit", type="sepa_debit", is_default=False)
_INDIAN = card("indian", card_country="IN")
_METHODS: tuple[tuple[PaymentMethod, ...], ...] = (
    (), (card(),), (card("spare"),), (card(), card("spare"), _DEBIT), (_INDIAN,),
)  # fmt: skip
GENEROUS = replace(Policy(), offers=Offers(enabled=True, after_messages=0))


class _Stumps:
    """Trees that give every charge the same log hazard."""

    def log_hazard(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        assert np.isfinite(rows).all()
        return np.full(len(rows), -1.0)

    def contributions(self, row: Any, background: Any) -> npt.NDArray[np.float64]:
        return np.zeros(row.shape[1])


LEARNT = LearntModel(
    version="learnt-1", trees=_Stumps(), calibrator=Calibrator(0.0, 1.0, 0.0), rates=Rates(),
    pay_cycles=PayCycles(), group_rows={"fresh:issuer_risk": [10.0] * 5},
)  # fmt: skip


@st.composite
def views(draw: st.DrawFn) -> CaseView:
    hours = draw(st.integers(0, 31 * 24))
    said = [SentMessage(at=OPENED + timedelta(hours=h)) for h in draw(st.lists(st.integers(0, 9)))]
    others = Diary().declined(draw(st.sampled_from(["insufficient_funds", "lost_card"])), hours=-99)
    return replace(
        Diary(methods=draw(st.sampled_from(_METHODS))).view(hours=hours),
        messages=tuple(sorted(said, key=lambda m: m.at)),
        card_attempts=tuple(
            replace(a, invoice_id="in_0") for a in others.attempts[: draw(st.integers(0, 1))]
        ),
        billing_reason=draw(st.sampled_from(["subscription_cycle", "subscription_create", None])),
        amount=draw(st.sampled_from([10, 2900])),
    )


@pytest.mark.parametrize("model", [PriorModel(), LEARNT], ids=["prior", "learnt"])
@settings(max_examples=60, deadline=None)
@given(view=views())
def test_whatever_is_asked_of_a_case_without_attempts_is_answered(
    model: SuccessModel, view: CaseView
) -> None:
    decision = planner.decide(view, policy=GENEROUS, model=model)
    assert decision.reasons
    if not view.payment_methods and view.now < view.deadline_at:
        assert decision.kind in (DecisionKind.WAIT_FOR_CUSTOMER, DecisionKind.STOP)
    planner.curves(view, policy=GENEROUS, model=model)
    fixed_schedule.next_charge(view)
    discounts.situation_of(view, GENEROUS.offers.features, retry_planned=None)
    discounts.refusal_of(view, GENEROUS)
    dunning.worth(view, decision, policy=GENEROUS)
    kind = dunning.kind_of(view, decision)
    assert kind is not MessageKind.AUTHENTICATE
    at = view.now + timedelta(days=1)
    for method in view.payment_methods:
        renewal_risk.of_charge(view, method, at, policy=GENEROUS, model=model)
        context = FeatureContext(view, method, np.array([at.timestamp()]))
        assert np.isfinite(features.matrix(context)).all()
        assert pooling_group(context)


def test_who_has_nothing_saved_is_asked_for_something() -> None:
    decision = Diary(methods=()).decides()
    assert decision.kind is DecisionKind.WAIT_FOR_CUSTOMER
    assert decision.message_kind is MessageKind.UPDATE_METHOD
    assert decision.message_at is not None
