"""What the planner makes of a case: scenarios that read like a diary."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from diary import OPENED, Diary, at, card, words

from retry_engine.decisioning import planner
from retry_engine.decisioning.churn import counted
from retry_engine.decisioning.prior import PriorModel
from retry_engine.domain import network_rules
from retry_engine.domain.attempts import Outcome
from retry_engine.domain.decisions import Decision, DecisionKind
from retry_engine.domain.policy import Limits, Methods, Policy, Review, Value


def moment_of(decision: Decision) -> datetime:
    assert decision.kind is DecisionKind.RETRY, words(decision)
    assert decision.retry_at is not None
    return decision.retry_at


def test_an_empty_account_is_tried_again_once_wages_have_come_in() -> None:
    decision = Diary().declined("insufficient_funds").decides()
    assert at("2026-03-13T00:00") <= moment_of(decision) <= at("2026-04-03T00:00")
    assert "payday" in words(decision)


def test_where_customers_soon_leave_an_empty_account_is_tried_sooner() -> None:
    view = Diary().declined("insufficient_funds").view()
    soon = counted(np.full(1000, 2.0), np.full(1000, True))
    stay = counted(np.full(1000, 30.0), np.full(1000, False))
    hasty, patient = (
        moment_of(planner.decide(view, policy=Policy(), model=PriorModel(churn=churn)))
        for churn in (soon, stay)
    )
    assert hasty < patient


def test_a_technical_error_is_tried_again_as_soon_as_the_gap_allows() -> None:
    moment = moment_of(Diary().declined("issuer_not_available").decides())
    assert timedelta(hours=24) <= moment - OPENED <= timedelta(hours=30)


def test_an_opaque_decline_gets_days_rather_than_hours() -> None:
    moment = moment_of(Diary().declined("generic_decline").decides())
    assert timedelta(hours=48) <= moment - OPENED <= timedelta(days=10)


def test_a_healthy_backup_is_charged_soon_after_a_definite_decline() -> None:
    decision = Diary(methods=(card(), card("other"))).declined("do_not_honor").decides()
    assert decision.payment_method_id == "pm_other"
    assert moment_of(decision) - OPENED <= timedelta(hours=12)
    assert "has not been declined" in words(decision)


def test_a_backup_is_left_alone_where_the_policy_says_so() -> None:
    diary = Diary(methods=(card(), card("other"))).under(methods=Methods(charge_backups=False))
    assert diary.declined("do_not_honor").decides().payment_method_id == "pm_main"


def test_an_updated_card_is_tried_promptly() -> None:
    updated = card(changed_at=OPENED + timedelta(hours=30))
    decision = Diary(methods=(updated,)).declined("do_not_honor").decides(hours=30.5)
    assert moment_of(decision) == OPENED + timedelta(hours=30.5)
    assert "updated" in words(decision)


@pytest.mark.parametrize(
    "code", ["expired_card", "authentication_required", "stolen_card", "incorrect_cvc"]
)
def test_what_only_the_customer_can_mend_waits_for_the_customer(code: str) -> None:
    decision = Diary().declined(code).decides()
    assert decision.kind is DecisionKind.WAIT_FOR_CUSTOMER
    assert code in words(decision) or "authenticate" in words(decision)


def test_a_dead_card_does_not_keep_a_healthy_backup_from_being_charged() -> None:
    decision = Diary(methods=(card(), card("other"))).declined("stolen_card").decides()
    assert (decision.kind, decision.payment_method_id) == (DecisionKind.RETRY, "pm_other")


@pytest.mark.parametrize(
    "code",
    [
        "stop_payment_order", "revocation_of_authorization", "recipient_deceased",
        "fraudulent", "merchant_blacklist", "highest_risk_level",
    ],
)  # fmt: skip
def test_a_person_looks_before_a_backup_is_charged_for_somebody_who_may_not_owe_it(
    code: str,
) -> None:
    decision = Diary(methods=(card(), card("other"))).declined(code).decides()
    assert decision.kind is DecisionKind.REVIEW
    assert decision.payment_method_id is None


def test_a_block_by_radar_is_looked_at_by_a_person() -> None:
    blocked = Diary().declined(None, outcome_type="blocked", outcome_reason="highest_risk_level")
    assert blocked.decides().kind is DecisionKind.REVIEW


@pytest.mark.parametrize("advice", ["21", "42"])
def test_mastercard_telling_of_a_wish_to_leave_or_of_sanctions_is_for_a_person(advice: str) -> None:
    diary = Diary(methods=(card(card_brand="mastercard"),))
    decision = diary.declined("do_not_honor", network_advice_code=advice).decides()
    assert decision.kind is DecisionKind.REVIEW


def test_a_large_amount_is_planned_and_then_waits_for_a_person() -> None:
    diary = Diary().declined("insufficient_funds").under(review=Review(amount_above=2000))
    decision = diary.decides()
    assert decision.kind is DecisionKind.REVIEW
    assert decision.retry_at is not None
    assert decision.payment_method_id == "pm_main"
    assert diary.under(review=Review(amount_above=2900)).decides().kind is DecisionKind.RETRY


def test_used_up_attempts_stop_the_case_and_are_named() -> None:
    diary = Diary().under(limits=Limits(max_attempts=2))
    diary = diary.declined("insufficient_funds").declined("insufficient_funds", hours=60)
    decision = diary.decides(hours=200)
    assert decision.kind is DecisionKind.STOP
    assert "2 attempts" in words(decision)


def test_the_end_of_the_horizon_stops_the_case_and_is_named() -> None:
    decision = Diary().declined("insufficient_funds").decides(hours=30 * 24)
    assert decision.kind is DecisionKind.STOP
    assert "horizon" in words(decision)


def test_an_attempt_that_costs_more_than_it_brings_is_not_made() -> None:
    decision = (
        Diary().declined("insufficient_funds").under(value=Value(attempt_cost=5000)).decides()
    )
    assert decision.kind is DecisionKind.STOP
    assert "worth" in words(decision)


def test_without_any_payment_method_the_customer_is_waited_for() -> None:
    gone = replace(Diary().declined("insufficient_funds"), methods=())
    assert gone.decides().kind is DecisionKind.WAIT_FOR_CUSTOMER


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.PROCESSING])
def test_nothing_is_charged_while_an_outcome_is_unknown(outcome: Outcome) -> None:
    diary = Diary(methods=(card(), card("other"))).declined("insufficient_funds")
    decision = diary.declined(None, hours=60, outcome=outcome).decides(hours=61)
    assert decision.kind is not DecisionKind.RETRY


def test_a_code_nobody_knows_is_retried_once_and_later_than_two_days() -> None:
    once = Diary().declined("brand_new_code")
    assert moment_of(once.decides()) - OPENED >= timedelta(hours=48)
    twice = once.declined("brand_new_code", hours=60)
    assert twice.decides(hours=61).kind is DecisionKind.WAIT_FOR_CUSTOMER


def test_yen_have_no_cents_and_are_decided_about_all_the_same() -> None:
    diary = Diary().but(currency="jpy", amount=1200, customer_country="JP")
    assert diary.declined("insufficient_funds").decides().kind is DecisionKind.RETRY


@pytest.mark.parametrize("country", [None, "", "XX", "nowhere", "de"])
@pytest.mark.parametrize("zone", [None, "", "Nowhere/Else", "America", "../etc/passwd", "x" * 300])
def test_a_country_or_timezone_that_makes_no_sense_costs_nothing_but_precision(
    country: str | None, zone: str | None
) -> None:
    diary = Diary().declined("insufficient_funds")
    decision = diary.but(customer_country=country, customer_timezone=zone).decides()
    assert decision.kind is DecisionKind.RETRY


def test_cases_of_the_same_hour_are_spread_over_the_slot() -> None:
    diary = Diary().declined("insufficient_funds")
    moments = {moment_of(diary.but(case_id=f"rc_{n}").decides()) for n in range(40)}
    assert len(moments) > 15
    assert max(moments) - min(moments) < timedelta(hours=1)


def test_the_spread_over_a_slot_does_not_reach_into_what_is_forbidden() -> None:
    # the quiet zone begins five minutes into the slot that would be chosen
    planned = OPENED + timedelta(hours=25 + 12, minutes=5)
    diary = Diary().declined("issuer_not_available").but(stripe_next_attempt_at=planned)
    moments = {moment_of(diary.but(case_id=f"rc_{n}").decides()) for n in range(40)}
    slot = OPENED + timedelta(hours=25)
    assert slot in moments
    assert max(moments) < slot + timedelta(minutes=5)


def test_declines_are_counted_in_a_row_only_while_the_code_stays_the_same() -> None:
    diary = Diary().declined("issuer_not_available").declined("do_not_honor", hours=30)
    mixed = diary.declined("insufficient_funds", hours=80)
    assert "in a row" not in words(mixed.decides(hours=81))
    assert "2 times in a row" in words(
        mixed.declined("insufficient_funds", hours=130).decides(hours=131)
    )


def test_what_was_forbidden_is_kept_for_the_record_even_when_nothing_is_permitted() -> None:
    decision = Diary().declined("stolen_card").decides()
    assert {c.forbidden_by for c in decision.candidates} == {"hard_decline"}


def test_the_plan_is_permitted_by_the_rules_to_the_second() -> None:
    diary = Diary().declined("do_not_honor").but(stripe_next_attempt_at=at("2026-03-13T09:00"))
    moment = moment_of(diary.decides())
    view = diary.view()
    assert (
        network_rules.check(view, view.payment_methods[0], at=moment, policy=diary.policy) is None
    )
