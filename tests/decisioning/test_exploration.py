"""Exploration: some choices drawn at random, each with the chance it had."""

from dataclasses import replace
from datetime import timedelta
from random import Random

import numpy as np
import pytest
from diary import OPENED, Diary, card

from retry_engine.decisioning import planner
from retry_engine.domain import network_rules
from retry_engine.domain.decisions import Decision, DecisionKind
from retry_engine.domain.messages import SentMessage
from retry_engine.domain.policy import Policy, Value

_TWO = Diary(methods=(card(), card("spare"))).declined("insufficient_funds")


def _explores(share: float, scale: float = 0.2) -> Policy:
    return Policy(value=Value(explore=share, explore_scale=scale))


def _decisions(policy: Policy, count: int) -> list[Decision]:
    views = [_TWO.but(case_id=f"rc_{n}").view(hours=1) for n in range(count)]
    return planner.decide_many(views, policy=policy)


def test_without_exploration_every_choice_is_certain_and_the_best() -> None:
    for decision in _decisions(Policy(), 20):
        assert decision.propensity == 1.0
        assert decision.expected_value == max(c.expected_value for c in decision.candidates)


def test_the_share_drawn_at_random_is_the_policys() -> None:
    told = [d.reasons[0].text for d in _decisions(_explores(0.3), 600)]
    drawn = sum(text.startswith("drawn at random") for text in told)
    # four standard deviations of a binomial
    assert abs(drawn - 180) < 45


def test_a_propensity_is_how_often_that_hour_and_method_are_chosen() -> None:
    decisions = _decisions(_explores(0.5), 6000)
    hits: dict[tuple[str | None, int], list[float]] = {}
    for decision in decisions:
        assert decision.retry_at is not None
        slot = int((decision.retry_at - OPENED) / timedelta(hours=3))
        hits.setdefault((decision.payment_method_id, slot), []).append(decision.propensity)
    for propensities in hits.values():
        assert np.ptp(propensities) < 1e-9  # the same choice, the same propensity
        expected = propensities[0] * 3 * len(decisions)
        assert abs(len(propensities) - expected) < 5 * np.sqrt(expected) + 1
    # what was never seen is all but impossible
    assert sum(p[0] * 3 for p in hits.values()) == pytest.approx(1.0, abs=0.05)


def test_what_is_drawn_keeps_the_rules_and_is_drawn_again_alike() -> None:
    policy = _explores(1.0, 5.0)
    story = _TWO.declined("insufficient_funds", hours=60, on="spare")
    for number in range(150):
        view = story.but(case_id=f"rc_{number}").view(hours=61)
        decision = planner.decide(view, policy=policy)
        assert decision.kind is DecisionKind.RETRY
        method = view.method(decision.payment_method_id)
        assert method is not None
        assert decision.retry_at is not None
        assert view.now <= decision.retry_at < view.deadline_at
        assert network_rules.check(view, method, at=decision.retry_at, policy=policy) is None
        later = replace(view, now=view.now)
        assert planner.decide(later, policy=policy) == decision


def test_asked_again_before_its_moment_the_same_is_drawn_with_the_same_propensity() -> None:
    """After a message, say: else late moments would come up more often than their propensity."""
    policy = _explores(0.6, 5.0)
    for number in range(60):
        case = _TWO.but(case_id=f"rc_{number}")
        first = planner.decide(case.view(hours=1), policy=policy)
        assert first.retry_at is not None
        for hours in (4.0, 30.0, 200.0):
            if OPENED + timedelta(hours=hours + 3) < first.retry_at:
                again = planner.decide(case.view(hours=hours), policy=policy)
                if again.reasons[0].text.startswith("drawn at random"):
                    assert again.retry_at == first.retry_at
                    assert again.payment_method_id == first.payment_method_id
                    assert again.propensity == pytest.approx(first.propensity, rel=0.02)


def test_weighed_by_their_propensities_what_is_carried_out_covers_every_hour_once() -> None:
    """Whatever was asked again in between: the sum of 1 / propensity of a span is its length."""
    policy = _explores(1.0, 50.0)  # all but evenly drawn
    one = Diary().declined("do_not_honor")
    asked_again, count = 96, 1500
    hours, weights = [], []
    for number in range(count):
        case = one.but(case_id=f"rc_{number}")
        decision = planner.decide(case.view(hours=0.1), policy=policy, explain=False)
        assert decision.retry_at is not None
        if decision.retry_at > OPENED + timedelta(hours=asked_again):
            decision = planner.decide(case.view(hours=asked_again), policy=policy, explain=False)
        assert decision.retry_at is not None
        hours.append((decision.retry_at - OPENED) / timedelta(hours=1))
        weights.append(1.0 / decision.propensity / count)
    for low, high in ((96, 144), (144, 240), (240, 480), (480, 714)):
        inside = (np.array(hours) >= low) & (np.array(hours) < high)
        # four standard deviations of so many draws
        spread = 4 / np.sqrt(inside.sum())
        assert float(np.array(weights)[inside].sum()) == pytest.approx(high - low, rel=spread)


def _carried_out(case: Diary, policy: Policy, rng: Random) -> Decision:
    """What is charged in the end, the case being asked again at messages and at random events."""
    hours = 0.1
    said: tuple[SentMessage, ...] = ()
    decision = planner.decide(case.view(hours=hours), policy=policy, explain=False)
    while True:
        event = OPENED + timedelta(hours=hours + rng.uniform(6, 120))
        message = decision.message_at
        moment = min(event, message) if message else event
        if decision.retry_at is None or moment >= decision.retry_at:
            return decision
        if moment == message:
            said = (*said, SentMessage(at=moment))
        hours = (moment - OPENED) / timedelta(hours=1) + 0.1
        view = case.but(messages=said).view(hours=hours)
        decision = planner.decide(view, policy=policy, explain=False)


def test_each_day_and_method_is_covered_once_with_messages_events_and_plans_made_anew() -> None:
    """The audit of propensities: the sum of 1 / p in a span of a method is the span's length."""
    policy, count = _explores(1.0, 50.0), 700
    one = Diary(methods=(card(), card("spare"))).declined("do_not_honor")
    made = [_carried_out(one.but(case_id=f"rc_{n}"), policy, Random(n)) for n in range(count)]
    assert all(decision.retry_at is not None for decision in made)
    at = np.array([(d.retry_at or OPENED) - OPENED for d in made]) / timedelta(hours=1)
    weights = np.array([1.0 / d.propensity / count for d in made])
    for method in ("pm_main", "pm_spare"):
        mine = np.array([d.payment_method_id == method for d in made])
        for low, high in ((48, 144), (144, 240), (240, 480), (480, 714)):
            inside = mine & (at >= low) & (at < high)
            # four standard deviations of so many draws
            spread = 4 / np.sqrt(inside.sum())
            assert float(weights[inside].sum()) == pytest.approx(high - low, rel=spread)
