"""Whether a discount is worth giving, and to whom it may be given."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from diary import OPENED, Diary
from hypothesis import given
from hypothesis import strategies as st

from retry_engine.decisioning import discounts, planner
from retry_engine.domain import codes, money
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.decisions import DecisionKind
from retry_engine.domain.messages import SentMessage
from retry_engine.domain.offers import Offer, OfferState, discount_of
from retry_engine.domain.policy import OFFER_FEATURES, Offers, Policy

ON = replace(Policy(), offers=Offers(enabled=True))


NOW = OPENED + timedelta(days=6)


def who_came_and_left(**changed: Any) -> CaseView:
    diary = Diary().declined("expired_card").but(amount=4000)
    said = SentMessage(at=NOW - timedelta(days=5), visited=True)
    return replace(diary.view(hours=144), **{"messages": (said,), **changed})


def discount(view: CaseView, policy: Policy = ON) -> int:
    return planner.decide(view, policy=policy).discount


def test_who_looked_at_the_bill_and_left_is_offered_something() -> None:
    decision = planner.decide(who_came_and_left(), policy=ON)
    assert decision.discount == 800
    assert decision.message_at is not None
    assert any("off is offered" in reason.text for reason in decision.reasons)


@pytest.mark.parametrize(
    ("view", "policy"),
    [
        (who_came_and_left(), Policy()),
        (who_came_and_left(messages=()), ON),
        (who_came_and_left(messages=(SentMessage(at=NOW - timedelta(days=5)),)), ON),
        (who_came_and_left(last_offer_at=NOW - timedelta(days=100)), ON),
        (
            who_came_and_left(
                offers=(Offer(at=NOW - timedelta(days=4), amount=400, state=OfferState.EXPIRED),)
            ),
            ON,
        ),
        (who_came_and_left(amount=50), ON),
        (who_came_and_left(), replace(ON, offers=Offers(enabled=True, case_budget=0))),
    ],
    ids=[
        "offers are off", "the first message", "not known to have come", "an offer lately",
        "a second offer", "too little would remain", "nothing to spend",
    ],
)  # fmt: skip
def test_nothing_is_offered_where_it_may_not_be_or_does_not_pay(
    view: CaseView, policy: Policy
) -> None:
    assert discount(view, policy) == 0


def test_a_method_that_will_be_tried_again_is_waited_for_unless_it_failed_several_times() -> None:
    def funds() -> CaseView:
        diary = Diary().declined("insufficient_funds").but(amount=4000)
        said = SentMessage(at=NOW - timedelta(days=5), visited=True)
        return replace(diary.view(hours=144), messages=(said,))

    planned = planner.decide(funds(), policy=Policy())
    assert planned.kind is DecisionKind.RETRY
    by: Any = {"policy": ON, "effects": discounts.PRIOR}
    assert discounts.with_offer(funds(), planned, **by).discount == 0
    attempts = funds().attempts
    tried = replace(funds(), attempts=attempts * 3)
    assert discounts.with_offer(tried, planned, **by).discount == 800


def test_an_offer_comes_again_when_the_cool_down_is_over() -> None:
    assert discount(who_came_and_left(last_offer_at=NOW - timedelta(days=181))) == 800


def test_no_offer_is_made_because_of_where_the_customer_lives_or_banks() -> None:
    view = who_came_and_left()
    other = replace(
        view,
        customer_country="BR",
        customer_timezone="America/Sao_Paulo",
        payment_methods=tuple(
            replace(m, card_country="BR", card_brand="amex", card_funding="prepaid")
            for m in view.payment_methods
        ),
    )
    assert discount(other) == discount(view) > 0


def test_a_feature_that_is_not_allowed_changes_nothing() -> None:
    allowed = tuple(f for f in OFFER_FEATURES if f != "came_and_left")
    policy = replace(ON, offers=replace(ON.offers, features=allowed))
    assert discount(who_came_and_left(), policy) == 0


def test_randomised_offers_have_the_propensity_that_they_are_drawn_with() -> None:
    policy = replace(ON, offers=replace(ON.offers, randomised=0.6))
    drawn: dict[int, list[float]] = {}
    for number in range(3000):
        decision = planner.decide(
            replace(who_came_and_left(), case_id=f"case_{number}"), policy=policy, explain=False
        )
        assert decision.offer_propensity is not None
        drawn.setdefault(decision.discount, []).append(decision.offer_propensity)
    assert set(drawn) == {0, 400, 800}
    for found in drawn.values():
        assert len(set(found)) == 1
        assert len(found) / 3000 == pytest.approx(found[0], abs=0.03)


@given(
    percent=st.integers(1, 100),
    owed=st.integers(1, 5_000_000),
    currency=st.sampled_from(["eur", "jpy", "isk", "kwd", "gbp", "huf"]),
    most=st.integers(0, 6_000_000),
)
def test_what_remains_after_a_discount_can_always_be_charged(
    percent: int, owed: int, currency: str, most: int
) -> None:
    step = money.step(currency)
    owed *= step
    found = discount_of(percent, owed, currency, most=most)
    assert 0 <= found <= most
    assert found % step == 0
    assert found == 0 or owed - found >= money.minimum_charge(currency)


def test_a_dearer_effect_is_asked_for_before_a_larger_discount_is_given() -> None:
    weak = discounts.Effects(gain={"": 0.04}, cost={"": 0.10})
    view = who_came_and_left()
    small = discounts.with_offer(
        view, planner.decide(view, policy=Policy()), policy=ON, effects=weak
    ).discount
    assert small == 400


@pytest.mark.parametrize("code", codes.table().values(), ids=lambda c: c.code)
def test_nobody_is_offered_a_discount_for_what_the_merchant_or_the_way_has_caused(
    code: codes.DeclineCode,
) -> None:
    said = SentMessage(at=NOW - timedelta(days=5), visited=True)
    view = replace(Diary().declined(code.code).but(amount=4000).view(hours=144), messages=(said,))
    theirs = ("issuer_transient", "configuration", "test_mode")
    refusal = discounts.refusal_of(view, ON)
    assert (refusal == "the failure is not the customer's") == (code.category in theirs)
    if code.customer_action in (codes.CustomerAction.MERCHANT_FIX, "none_reconcile_first"):
        assert refusal is not None
        assert discount(view) == 0
