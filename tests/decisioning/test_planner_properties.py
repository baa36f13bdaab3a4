"""What holds of every decision, for cases nobody wrote down."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
from diary import OPENED, Diary, card
from hypothesis import given, settings
from hypothesis import strategies as st

from retry_engine.decisioning import planner
from retry_engine.decisioning.prior import PriorModel
from retry_engine.domain import codes, network_rules
from retry_engine.domain.attempts import Outcome
from retry_engine.domain.decisions import DecisionKind
from retry_engine.domain.policy import Value

_CODES = st.sampled_from([*sorted(codes.table()), "brand_new_code", None])
# with microseconds, as real clocks have them
_HOURS = st.floats(0.01, 719.9, allow_nan=False)


@st.composite
def diaries(draw: st.DrawFn) -> tuple[Diary, float]:
    """A case with up to three methods and seven attempts by anybody, and the hour it is asked."""
    brands = st.sampled_from(["visa", "mastercard", "amex", "jcb", None])
    now = draw(_HOURS)
    updates = st.none() | st.floats(0, now).map(lambda h: OPENED + timedelta(hours=h))
    methods = tuple(
        card(
            name,
            card_brand=draw(brands),
            card_exp=draw(st.sampled_from([None, (2026, 3), (2026, 12), (2030, 1)])),
            card_funding=draw(st.sampled_from(["credit", "debit", "prepaid", "unknown", None])),
            changed_at=draw(updates),
        )
        for name in draw(st.sampled_from([["main"], ["main", "b"], ["main", "b", "c"], ["b"]]))
    )
    diary = Diary(methods=methods)
    for hour in sorted(draw(st.lists(st.floats(0, now), min_size=1, max_size=7))):
        diary = diary.declined(
            draw(_CODES),
            hours=hour,
            on=draw(st.sampled_from(methods)).id.removeprefix("pm_"),
            outcome=draw(st.sampled_from([Outcome.FAILED] * 8 + [Outcome.REQUIRES_ACTION])),
            network_advice_code=draw(st.sampled_from([None, None, "01", "02", "03", "25", "30"])),
        )
    planned = st.none() | _HOURS.map(lambda h: OPENED + timedelta(hours=h))
    diary = diary.but(
        amount=draw(st.integers(1, 5_000_000)),
        currency=draw(st.sampled_from(["eur", "usd", "jpy", "kwd"])),
        customer_country=draw(st.sampled_from(["US", "DE", "BR", "JP", "AU", "XX", "", None])),
        customer_timezone=draw(st.sampled_from(["Asia/Tokyo", "America", "Nowhere", "", None])),
        stripe_next_attempt_at=draw(planned),
    )
    return diary, now


@settings(max_examples=150, deadline=None)
@given(diaries())
def test_a_retry_is_never_planned_in_the_past_past_the_deadline_or_where_a_rule_forbids_it(
    story: tuple[Diary, float],
) -> None:
    diary, hours = story
    view = diary.view(hours=hours)
    decision = planner.decide(view, policy=diary.policy)
    if decision.kind is not DecisionKind.RETRY:
        assert decision.retry_at is None
        return
    method = view.method(decision.payment_method_id)
    assert method is not None
    assert decision.retry_at is not None
    assert view.now <= decision.retry_at < view.deadline_at
    standing = network_rules.check(view, method, at=decision.retry_at, policy=diary.policy)
    assert standing is None, standing


@settings(max_examples=60, deadline=None)
@given(diaries())
def test_the_same_case_gets_the_same_decision_and_always_a_reason(
    story: tuple[Diary, float],
) -> None:
    diary, hours = story
    first, again = diary.decides(hours=hours), diary.decides(hours=hours)
    assert first == again
    assert first.reasons
    assert all(reason.text for reason in first.reasons)


@settings(max_examples=80, deadline=None)
@given(diaries())
def test_a_chance_is_always_between_nothing_and_certainty(story: tuple[Diary, float]) -> None:
    diary, hours = story
    view = diary.view(hours=hours)
    slots = np.arange(view.now.timestamp(), view.deadline_at.timestamp(), 3600.0)
    for method in view.payment_methods:
        chance = PriorModel().success_probability(view, method, slots)
        assert chance.shape == slots.shape
        assert np.isfinite(chance).all()
        assert ((chance >= 0) & (chance <= 1)).all()


@settings(max_examples=80, deadline=None)
@given(diaries(), st.integers(0, 500), st.integers(1, 5_000))
def test_dearer_attempts_never_make_a_case_worth_more(
    story: tuple[Diary, float], cost: int, more: int
) -> None:
    diary, hours = story
    cheap = diary.under(value=Value(attempt_cost=cost)).decides(hours=hours)
    dear = diary.under(value=Value(attempt_cost=cost + more)).decides(hours=hours)
    assert dear.expected_value <= cheap.expected_value
    assert not (cheap.kind is DecisionKind.STOP and dear.kind is DecisionKind.RETRY)


@settings(max_examples=60, deadline=None)
@given(diaries())
def test_a_method_more_to_choose_from_never_makes_a_case_worth_less(
    story: tuple[Diary, float],
) -> None:
    diary, hours = story
    more = replace(diary, methods=(*diary.methods, card("spare")))
    before, after = diary.decides(hours=hours), more.decides(hours=hours)
    assert after.expected_value >= before.expected_value
