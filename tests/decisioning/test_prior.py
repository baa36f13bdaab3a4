"""The prior's beliefs: which way each fact moves the chance of a charge."""

from datetime import timedelta

import numpy as np
import pytest
from diary import OPENED, Diary, at, card

from retry_engine.decisioning import prior
from retry_engine.decisioning.prior import PriorModel
from retry_engine.decisioning.reasons import by_cause
from retry_engine.domain.attempts import Outcome
from retry_engine.domain.payment_methods import PaymentMethod


def chance(diary: Diary, moment: str, *, on: PaymentMethod | None = None) -> float:
    """What the prior gives a charge at that moment."""
    view = diary.view()
    slots = np.array([at(moment).timestamp()])
    return float(PriorModel().success_probability(view, on or view.payment_methods[0], slots)[0])


def test_an_issuer_that_was_away_is_back_within_a_day() -> None:
    diary = Diary().declined("issuer_not_available")
    assert chance(diary, "2026-03-10T10:00") < 0.25
    assert chance(diary, "2026-03-11T10:00") > 0.7


def test_an_opaque_decline_eases_over_days_but_never_to_a_good_chance() -> None:
    diary = Diary().declined("do_not_honor")
    soon, later = chance(diary, "2026-03-11T10:00"), chance(diary, "2026-03-19T10:00")
    assert soon < later < 0.4


def test_an_empty_account_is_fuller_after_the_end_of_the_month_than_before() -> None:
    diary = Diary().declined("insufficient_funds")
    before, after = chance(diary, "2026-03-30T10:00"), chance(diary, "2026-04-01T10:00")
    assert after > before + 0.1


def test_each_failure_on_a_card_lowers_its_odds_by_about_a_third() -> None:
    once = Diary().declined("do_not_honor", hours=100)
    again = Diary().declined("do_not_honor").declined("do_not_honor", hours=100)
    ratio = chance(again, "2026-03-20T10:00") / chance(once, "2026-03-20T10:00")
    assert 0.6 < ratio < 0.75


def test_failures_of_one_card_say_little_about_another() -> None:
    diary = Diary(methods=(card(), card("other"))).declined("insufficient_funds")
    assert chance(diary, "2026-03-10T11:00", on=diary.methods[1]) > 0.4
    assert chance(diary, "2026-03-10T11:00", on=diary.methods[0]) < 0.2


def test_what_was_declined_before_the_card_changed_no_longer_counts() -> None:
    changed = card(changed_at=OPENED + timedelta(minutes=30))
    old = Diary().declined("do_not_honor")
    new = Diary(methods=(changed,)).declined("do_not_honor")
    assert chance(new, "2026-03-10T10:00") > 3 * chance(old, "2026-03-10T10:00")


def test_a_card_is_worth_little_once_it_has_expired() -> None:
    diary = Diary(methods=(card(card_exp=(2026, 3)),)).declined("do_not_honor")
    assert chance(diary, "2026-03-31T20:00") > 3 * chance(diary, "2026-04-02T20:00")


def test_a_customers_own_record_moves_the_belief_about_their_payday() -> None:
    # months in which the 25th is a working day, so that wages come on it
    months = ("2025-11", "2026-02")
    on_the_26th = [at(f"{month}-26T10:00") for month in months]
    on_the_24th = [at(f"{month}-24T10:00") for month in months]
    diary = Diary().declined("insufficient_funds")
    past = []
    for number, moment in enumerate(sorted(on_the_24th + on_the_26th)):
        paid = moment in on_the_26th
        past.append(
            Diary()
            .declined(
                None if paid else "insufficient_funds",
                at=moment,
                invoice_id=f"in_old_{number}",
                outcome=Outcome.SUCCEEDED if paid else Outcome.FAILED,
            )
            .attempts[0]
        )
    view, told = diary.view(), diary.but(card_attempts=tuple(past)).view()
    method = view.payment_methods[0]
    before, after = prior.cycle_belief(view, method), prior.cycle_belief(told, method)
    assert after["month:25"] > 1.2 * before["month:25"]
    assert sum(after.values()) == pytest.approx(1.0)


def test_the_reasons_are_sentences_that_name_the_method_and_no_number_of_it() -> None:
    view = Diary().declined("insufficient_funds").view()
    reasons = by_cause(view, view.payment_methods[0], at("2026-04-01T10:00"))
    text = " ".join(reason.text for reason in reasons)
    assert "default Visa debit card" in text
    assert "fp_main" not in text
    assert "pm_main" not in text
