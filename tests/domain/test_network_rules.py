"""What may not be charged: each rule with its edges, one second to either side."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from retry_engine.domain import codes, network_rules
from retry_engine.domain.attempts import Attempt, Outcome, Source
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Limits, Methods, Policy

OPENED = datetime(2026, 3, 2, 9, tzinfo=UTC)  # a Monday
SECOND = timedelta(seconds=1)
POLICY = Policy()
LONG_AGO = 24 * 50  # hours: past every gap and every month


def after(hours: float) -> datetime:
    """That many hours after the case opened."""
    return OPENED + timedelta(hours=hours)


def card(**details: Any) -> PaymentMethod:
    known: dict[str, Any] = {
        "id": "pm_1", "card_brand": "visa", "card_country": "DE", "card_exp": (2029, 12),
        "card_fingerprint": "fp_1", "is_default": True,
    }  # fmt: skip
    return PaymentMethod(**{**known, **details})


def debit(kind: str, **details: Any) -> PaymentMethod:
    return PaymentMethod(**{"id": "pm_1", "type": kind, "is_default": True, **details})


def attempt(code: str | None = "do_not_honor", *, hours: float = 0, **details: Any) -> Attempt:
    known: dict[str, Any] = {
        "at": after(hours), "source": Source.STRIPE, "outcome": Outcome.FAILED, "amount": 2900,
        "currency": "eur", "invoice_id": "in_1", "payment_method_id": "pm_1",
        "card_brand": "visa", "card_fingerprint": "fp_1", "decline_code": code,
    }  # fmt: skip
    return Attempt(**{**known, **details})


def returned(code: str, *, hours: float = 0, **details: Any) -> Attempt:
    """A debit that came back."""
    return attempt(code, hours=hours, **{"card_brand": None, "card_fingerprint": None, **details})


def success(*, hours: float, **details: Any) -> Attempt:
    return attempt(None, hours=hours, outcome=Outcome.SUCCEEDED, **details)


def case(
    *attempts: Attempt, now: float = 1, method: PaymentMethod | None = None, **details: Any
) -> CaseView:
    known: dict[str, Any] = {
        "case_id": "rc_1", "invoice_id": "in_1", "customer_id": "cus_1", "account": "",
        "now": after(now), "opened_at": OPENED, "deadline_at": OPENED + timedelta(days=400),
        "amount": 2900, "currency": "eur", "attempts": attempts,
        "payment_methods": (method or card(),),
    }  # fmt: skip
    return CaseView(**{**known, **details})


def rule_at(
    view: CaseView, at: datetime, *, rule: str | None = None, policy: Policy = POLICY
) -> network_rules.Forbidden | None:
    """The span that holds then for the case's first method: of one rule, or the one that counts."""
    method = view.payment_methods[0]
    if rule is None:
        return network_rules.check(view, method, at=at, policy=policy)
    spans = network_rules.forbidden(view, method, policy=policy)
    return network_rules.longest_at([s for s in spans if s.rule == rule], at)


def assert_ends(view: CaseView, rule: str, end: datetime, *, policy: Policy = POLICY) -> None:
    """The rule forbids to the last second before `end`, and `end` itself is free of it."""
    assert rule_at(view, end - SECOND, rule=rule, policy=policy) is not None
    assert rule_at(view, end, rule=rule, policy=policy) is None


def assert_never(view: CaseView, rule: str, *, policy: Policy = POLICY) -> None:
    """The rule forbids now and for good."""
    for at in (view.now, view.deadline_at - SECOND, view.deadline_at + timedelta(days=3650)):
        span = rule_at(view, at, rule=rule, policy=policy)
        assert span is not None, f"{rule} does not hold at {at}"
        assert span.until is None
    method = view.payment_methods[0]
    found = network_rules.earliest(view, method, after=view.now, policy=policy)
    assert found is None


def assert_free(view: CaseView, rule: str, *, policy: Policy = POLICY) -> None:
    spans = network_rules.forbidden(view, view.payment_methods[0], policy=policy)
    assert [s for s in spans if s.rule == rule] == []


# -- the invoice


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.PROCESSING])
def test_nothing_is_charged_while_an_outcome_is_open(outcome: Outcome) -> None:
    assert_never(case(attempt(), attempt(None, hours=1, outcome=outcome)), "attempt_in_flight")


def test_an_open_outcome_on_one_method_forbids_the_others_too() -> None:
    other = card(id="pm_2", card_fingerprint="fp_2")
    assert_never(case(attempt(outcome=Outcome.UNKNOWN), method=other), "attempt_in_flight")


def test_a_paid_invoice_is_not_charged_again() -> None:
    assert_never(case(attempt(), success(hours=1), now=LONG_AGO), "already_paid")


def test_nothing_is_charged_from_the_deadline_on() -> None:
    view = case(attempt(), now=100, deadline_at=after(200))
    assert rule_at(view, after(200) - SECOND) is None
    span = rule_at(view, after(200))
    assert span is not None
    assert (span.rule, span.until) == ("case_deadline", None)


def test_the_eighth_attempt_of_whomever_was_the_last() -> None:
    sources = [Source.STRIPE, Source.CUSTOMER, Source.MANUAL, Source.ENGINE] * 2
    tries = [attempt(hours=72 * i, source=source) for i, source in enumerate(sources)]
    assert_free(case(*tries[:7], now=LONG_AGO), "attempts_per_invoice")
    assert_never(case(*tries, now=LONG_AGO), "attempts_per_invoice")


def test_new_card_data_gives_no_further_attempts_on_the_invoice() -> None:
    tries = [attempt(hours=72 * i) for i in range(8)]
    changed = card(changed_at=after(LONG_AGO - 1))
    assert_never(case(*tries, now=LONG_AGO, method=changed), "attempts_per_invoice")


def test_a_first_invoice_lives_23_hours_from_its_creation() -> None:
    view = case(
        attempt("processing_error"),
        billing_reason="subscription_create",
        invoice_created_at=after(-1),
    )
    assert rule_at(view, after(22) - SECOND, rule="first_invoice") is None
    span = rule_at(view, after(22), rule="first_invoice")
    assert span is not None
    assert span.until is None
    assert_free(replace(view, billing_reason="subscription_cycle"), "first_invoice")


def test_stripes_own_attempt_is_given_12_hours_to_either_side() -> None:
    view = case(attempt(), stripe_next_attempt_at=after(100))
    assert rule_at(view, after(88) - SECOND) is None
    assert rule_at(view, after(88)) is not None
    assert_ends(view, "quiet_zone", after(112))


@pytest.mark.parametrize(("amount", "is_free"), [(49, False), (50, True)])
def test_less_than_stripes_minimum_is_not_charged(amount: int, is_free: bool) -> None:
    view = case(attempt(), amount=amount)
    (assert_free if is_free else assert_never)(view, "below_minimum")


# -- consent and the method


@pytest.mark.parametrize("code", sorted(network_rules.CONSENT_GONE))
def test_a_withdrawn_consent_forbids_every_method(code: str) -> None:
    other = card(id="pm_2", card_fingerprint="fp_2")
    assert_never(case(attempt(code), method=other, now=LONG_AGO), "consent_withdrawn")


def test_a_cancelled_mastercard_payment_is_a_withdrawn_consent() -> None:
    cancelled = attempt("do_not_honor", card_brand="mastercard", network_advice_code="21")
    other = card(id="pm_2", card_fingerprint="fp_2")
    assert_never(case(cancelled, method=other, now=LONG_AGO), "consent_withdrawn")


def test_a_backup_is_charged_only_where_the_policy_says_so() -> None:
    backup = card(id="pm_2", card_fingerprint="fp_2", is_default=False)
    view = case(attempt(), method=backup)
    assert rule_at(view, view.now) is None
    never = Policy(methods=Methods(charge_backups=False))
    assert_never(view, "backup_not_allowed", policy=never)


def test_a_backup_is_charged_only_after_a_definite_answer() -> None:
    backup = card(id="pm_2", card_fingerprint="fp_2", is_default=False)
    assert_never(case(method=backup), "backup_before_decline")
    open_outcome = attempt(outcome=Outcome.UNKNOWN)
    assert_never(case(open_outcome, method=backup), "backup_before_decline")
    assert_free(case(attempt(), method=backup), "backup_before_decline")


def test_no_debit_without_a_mandate_and_none_of_a_blocked_account() -> None:
    insufficient = returned("insufficient_funds")
    sepa = debit("sepa_debit", mandate_active=False)
    assert_never(case(insufficient, method=sepa), "mandate_inactive")
    ach = debit("us_bank_account", blocked_reason="R29")
    assert_never(case(insufficient, method=ach), "account_blocked")
    assert_free(case(insufficient, method=debit("sepa_debit")), "mandate_inactive")


@pytest.mark.parametrize("method", [card(card_country="IN"), debit("upi")])
def test_indian_methods_are_charged_only_by_policy_and_36_hours_apart(
    method: PaymentMethod,
) -> None:
    view = case(attempt("issuer_not_available"), method=method)
    assert_never(view, "india_mandate")
    assert_ends(
        view, "india_mandate", after(36), policy=Policy(methods=Methods(retry_indian_cards=True))
    )


# -- declines


@pytest.mark.parametrize(
    "code", "lost_card stolen_card pickup_card incorrect_number transaction_not_allowed".split()
)
def test_a_hard_decline_ends_it_for_the_card(code: str) -> None:
    assert_never(case(attempt(code), now=LONG_AGO), "hard_decline")


def test_a_hard_decline_on_another_invoice_counts_by_the_cards_fingerprint() -> None:
    elsewhere = attempt("lost_card", invoice_id="in_0", payment_method_id="pm_0", hours=-900)
    assert_never(case(attempt(), card_attempts=(elsewhere,)), "hard_decline")
    other = replace(elsewhere, card_fingerprint="fp_0")
    assert_free(case(attempt(), card_attempts=(other,)), "hard_decline")


def test_a_hard_decline_of_one_card_leaves_the_others_free() -> None:
    view = case(attempt("lost_card"), method=card(id="pm_2", card_fingerprint="fp_2"))
    assert rule_at(view, view.now) is None


@pytest.mark.parametrize(
    ("changed", "is_free"), [(after(0) - SECOND, False), (after(0) + SECOND, True)]
)
def test_only_data_that_changed_after_a_hard_decline_lift_it(
    changed: datetime, is_free: bool
) -> None:
    view = case(attempt("lost_card"), now=2, method=card(changed_at=changed))
    (assert_free if is_free else assert_never)(view, "hard_decline")


def test_a_replaced_card_is_charged_at_once() -> None:
    view = case(attempt("expired_card"), now=2, method=card(changed_at=after(1)))
    assert rule_at(view, view.now) is None


def test_declines_of_the_card_that_was_replaced_say_nothing_of_the_new_one() -> None:
    view = case(attempt("lost_card", card_fingerprint="fp_old"), now=LONG_AGO)
    assert_free(view, "hard_decline")


@pytest.mark.parametrize("reason", ["highest_risk_level", "rule"])
def test_what_radar_blocked_is_not_sent_again(reason: str) -> None:
    blocked = attempt("generic_decline", outcome_type="blocked", outcome_reason=reason)
    rule = {"highest_risk_level": "hard_decline", "rule": "needs_change"}[reason]
    assert_never(case(blocked, now=LONG_AGO), rule)


@pytest.mark.parametrize(
    "code", "expired_card incorrect_cvc restricted_card duplicate_transaction".split()
)
def test_wrong_data_wait_for_new_data(code: str) -> None:
    view = case(attempt(code), now=LONG_AGO)
    assert_never(view, "needs_change")
    changed = replace(view, payment_methods=(card(changed_at=after(LONG_AGO - 1)),))
    assert_free(changed, "needs_change")


def test_a_duplicate_on_another_invoice_says_nothing_about_this_one() -> None:
    elsewhere = attempt("duplicate_transaction", invoice_id="in_0", hours=-200)
    assert_free(case(attempt(), card_attempts=(elsewhere,)), "needs_change")


@pytest.mark.parametrize(
    "asked",
    [
        attempt("authentication_required"),
        attempt("authentication_not_handled"),
        attempt(None, outcome=Outcome.REQUIRES_ACTION),
    ],
)
def test_what_wants_authentication_is_not_charged_without_the_customer(asked: Attempt) -> None:
    assert_never(case(asked, now=LONG_AGO), "authentication_needed")
    passed = card(authenticated_at=after(1))
    assert_free(case(asked, now=LONG_AGO, method=passed), "authentication_needed")
    too_early = card(authenticated_at=after(0) - SECOND)
    assert_never(case(asked, now=LONG_AGO, method=too_early), "authentication_needed")


def test_a_payment_elsewhere_whoever_asked_for_it_shows_that_the_bank_lets_the_card_pay() -> None:
    asked = attempt("authentication_required")
    paid = success(hours=5, invoice_id="in_2", source=Source.CUSTOMER)
    assert_free(case(asked, now=LONG_AGO, card_attempts=(paid,)), "authentication_needed")
    ours = replace(paid, source=Source.ENGINE)
    assert_free(case(asked, now=LONG_AGO, card_attempts=(ours,)), "authentication_needed")


VISA_NEVER, VISA_DATA = (
    sorted(codes.of_network(codes.Network.VISA, codes.Field.DECLINE, reach=reach))
    for reach in (codes.FinalFor.NUMBER, codes.FinalFor.CREDENTIAL)
)


@pytest.mark.parametrize("code", VISA_NEVER)
def test_visas_category_1_decides_over_stripes_soft_code(code: str) -> None:
    declined = attempt("do_not_honor", network_decline_code=code)
    assert_never(case(declined, now=LONG_AGO), "visa_never")


@pytest.mark.parametrize("code", VISA_DATA)
def test_visas_category_3_waits_for_new_data(code: str) -> None:
    declined = attempt("do_not_honor", network_decline_code=code)
    assert_never(case(declined, now=LONG_AGO), "visa_data")
    changed = card(changed_at=after(1))
    assert_free(case(declined, now=LONG_AGO, method=changed), "visa_data")


@pytest.mark.parametrize("code", "51 61 65 91 96 5C 9G 83 05 01".split())
def test_visas_other_categories_may_be_tried_again(code: str) -> None:
    view = case(attempt("do_not_honor", network_decline_code=code), now=LONG_AGO)
    assert rule_at(view, view.now) is None


def test_the_same_code_means_something_else_at_another_network() -> None:
    declined = attempt("do_not_honor", network_decline_code="82", card_brand="mastercard")
    view = case(declined, now=LONG_AGO, method=card(card_brand="mastercard"))
    assert rule_at(view, view.now) is None


def test_stripes_advice_not_to_try_again_holds_for_the_invoice() -> None:
    advised = attempt(advice_code="do_not_try_again")
    assert_never(case(advised, now=LONG_AGO), "advice_do_not_try_again")
    elsewhere = replace(advised, invoice_id="in_0")
    view = case(attempt(), now=LONG_AGO, card_attempts=(elsewhere,))
    assert_free(view, "advice_do_not_try_again")


def test_stripes_advice_to_confirm_the_data_waits_for_new_data() -> None:
    advised = attempt(advice_code="confirm_card_data")
    assert_never(case(advised, now=LONG_AGO), "advice_confirm_card_data")
    changed = card(changed_at=after(1))
    assert_free(case(advised, now=LONG_AGO, method=changed), "advice_confirm_card_data")


def mastercard(code: str, decline: str = "insufficient_funds", **details: Any) -> Attempt:
    return attempt(decline, **{"card_brand": "mastercard", "network_advice_code": code, **details})


@pytest.mark.parametrize("code", "03 04 21 22 40 41 42".split())
def test_mastercards_final_advice_ends_it_for_the_card(code: str) -> None:
    view = case(mastercard(code), now=LONG_AGO, method=card(card_brand="mastercard"))
    assert_never(view, "mastercard_never")


def test_mastercards_newer_data_are_worth_one_try_once_they_came() -> None:
    told = mastercard("01", "do_not_honor")
    master = card(card_brand="mastercard")
    assert_never(case(told, now=LONG_AGO, method=master), "mastercard_new_data")
    changed = replace(master, changed_at=after(1))
    assert_free(case(told, now=2, method=changed), "mastercard_new_data")
    again = replace(told, at=after(3))
    assert_never(case(told, again, now=LONG_AGO, method=changed), "mastercard_new_data")


@pytest.mark.parametrize(
    ("code", "hours"),
    [("02", 72), ("24", 1), ("25", 24), ("26", 48), ("27", 96), ("28", 144), ("29", 192),
     ("30", 240)],
)  # fmt: skip
def test_mastercards_waits_are_kept_to_the_second_but_a_day_at_least(
    code: str, hours: float
) -> None:
    master = card(card_brand="mastercard")
    view = case(mastercard(code), now=0, method=master)
    assert_ends(view, "mastercard_wait", after(hours))
    allowed = network_rules.earliest(view, master, after=view.now, policy=POLICY)
    assert allowed == after(max(hours, 24))


def test_a_wait_runs_from_its_own_attempt_not_from_a_later_one() -> None:
    told, later = mastercard("30"), mastercard("24", hours=100, source=Source.CUSTOMER)
    view = case(told, later, now=101, method=card(card_brand="mastercard"))
    assert_ends(view, "mastercard_wait", after(240))


@pytest.mark.parametrize("code", ["43", "05", "99"])
def test_other_advice_of_mastercards_forbids_nothing(code: str) -> None:
    view = case(mastercard(code), now=LONG_AGO, method=card(card_brand="mastercard"))
    assert rule_at(view, view.now) is None


def test_advice_on_an_approval_forbids_nothing() -> None:
    paid = success(hours=-800, invoice_id="in_0", card_brand="mastercard", network_advice_code="40")
    view = case(attempt(), card_attempts=(paid,), method=card(card_brand="mastercard"))
    assert_free(view, "mastercard_never")


@pytest.mark.parametrize("code", ["03", "30", "24"])
def test_mastercards_codes_mean_nothing_on_a_visa(code: str) -> None:
    view = case(attempt("insufficient_funds", network_advice_code=code), now=0)
    allowed = network_rules.earliest(view, card(), after=view.now, policy=POLICY)
    assert allowed == after(48)


def test_a_card_that_changed_its_network_is_judged_by_the_network_that_answered() -> None:
    said_visa = attempt("do_not_honor", network_advice_code="03")
    view = case(said_visa, now=LONG_AGO, method=card(card_brand="mastercard"))
    assert_free(view, "mastercard_never")


@pytest.mark.parametrize("field", ["outcome_reason", "decline_code"])
def test_a_velocity_block_waits_72_hours_and_not_on_other_cards(field: str) -> None:
    blocked = replace(attempt(), **{field: "previously_declined_do_not_retry"})  # type: ignore[arg-type]
    assert_ends(case(blocked), "velocity_block", after(72))
    assert_free(case(blocked, method=card(id="pm_2", card_fingerprint="fp_2")), "velocity_block")


# -- gaps and unknown codes


@pytest.mark.parametrize(
    ("code", "hours"),
    [("issuer_not_available", 24), ("processing_error", 24), ("reenter_transaction", 24),
     ("insufficient_funds", 48), ("do_not_honor", 48), (None, 48)],
)  # fmt: skip
def test_the_gap_on_one_card_is_a_day_or_two(code: str | None, hours: float) -> None:
    assert_ends(case(attempt(code), now=0), "gap_on_card", after(hours))


def test_the_gap_counts_whoever_tried_and_on_whichever_invoice() -> None:
    elsewhere = attempt(hours=10, invoice_id="in_0", source=Source.CUSTOMER)
    view = case(attempt(), now=11, card_attempts=(elsewhere,))
    assert_ends(view, "gap_on_card", after(58))


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.PROCESSING, Outcome.SUCCEEDED])
def test_another_invoices_charge_of_the_card_counts_for_the_gap(outcome: Outcome) -> None:
    charge = attempt(None, hours=100, invoice_id="in_0", outcome=outcome)
    view = case(attempt(), now=101, card_attempts=(charge,))
    assert_ends(view, "gap_on_card", after(124))


def test_technical_declines_since_do_not_shorten_an_earlier_gap() -> None:
    since = [attempt("processing_error", hours=h, source=Source.CUSTOMER) for h in (1, 2, 3, 4)]
    assert_ends(case(attempt(), *since, now=5), "gap_on_card", after(48))


def test_an_unknown_code_gets_one_retry_after_two_days() -> None:
    first = attempt("never_seen_before")
    assert_ends(case(first, now=0), "unknown_code", after(48))
    second = attempt("never_seen_before", hours=49)
    assert_never(case(first, second, now=LONG_AGO), "unknown_code")


def test_the_policy_says_how_often_an_unknown_code_is_tried() -> None:
    twice = Policy(limits=Limits(unknown_code_retries=2, unknown_code_gap_hours=60))
    tries = [attempt("never_seen_before", hours=h) for h in (0, 61)]
    assert_ends(case(*tries, now=62), "unknown_code", after(121), policy=twice)


# -- ceilings


def attempts_elsewhere(count: int, *, brand: str = "visa") -> tuple[Attempt, ...]:
    """Attempts on other invoices, 25 hours apart, the last one an hour before the case opened."""
    return tuple(
        attempt("processing_error", hours=-1 - 25 * i, invoice_id=f"in_x{i}", card_brand=brand)
        for i in reversed(range(count))
    )


def test_the_fifteenth_attempt_in_30_days_was_the_last_until_the_first_is_30_days_ago() -> None:
    assert_free(case(card_attempts=attempts_elsewhere(14)), "attempts_per_card")
    oldest = after(-1 - 25 * 14)
    assert_ends(
        case(card_attempts=attempts_elsewhere(15)), "attempts_per_card", oldest + timedelta(days=30)
    )


def test_new_card_data_do_not_lift_the_ceiling() -> None:
    view = case(card_attempts=attempts_elsewhere(15), method=card(changed_at=after(0)))
    assert rule_at(view, view.now) is not None


@pytest.mark.parametrize(
    ("brand", "ceiling"), [("visa", 20), ("mastercard", 35), ("amex", 15), (None, 15)]
)
def test_the_policy_cannot_lift_the_ceiling_above_the_networks_own(
    brand: str | None, ceiling: int
) -> None:
    lifted = Policy(limits=Limits(max_attempts_per_card_30_days=1000))
    many = tuple(
        attempt("processing_error", hours=-1 - i, invoice_id=f"in_x{i}", card_brand=brand)
        for i in reversed(range(ceiling))
    )
    method = card(card_brand=brand)
    fewer = case(card_attempts=many[1:], method=method)
    assert_free(fewer, "attempts_per_card", policy=lifted)
    reached = case(card_attempts=many, method=method)
    end = many[0].at + timedelta(days=30)
    assert_ends(reached, "attempts_per_card", end, policy=lifted)


def test_the_policy_may_lower_the_ceiling() -> None:
    low = Policy(limits=Limits(max_attempts_per_card_30_days=3))
    end = after(-1 - 25 * 2) + timedelta(days=30)
    assert_ends(case(card_attempts=attempts_elsewhere(3)), "attempts_per_card", end, policy=low)


def test_ten_declines_of_a_mastercard_forbid_the_rest_of_a_day() -> None:
    tries = tuple(
        attempt("processing_error", hours=-10 + i, invoice_id=f"in_x{i}", card_brand="mastercard")
        for i in range(10)
    )
    master = card(card_brand="mastercard")
    view = case(card_attempts=tries, now=0, method=master)
    assert_ends(view, "mastercard_declines_a_day", after(14))
    assert_free(case(card_attempts=tries[1:], now=0, method=master), "mastercard_declines_a_day")


# -- bank debits


@pytest.mark.parametrize("kind", sorted(network_rules.DEBIT_RULES))
def test_a_debit_comes_again_as_often_as_its_scheme_allows(kind: str) -> None:
    _, most, _ = network_rules.DEBIT_RULES[kind]
    tries = [returned("insufficient_funds", hours=72 * i) for i in range(most + 1)]
    last_free = case(*tries[:most], now=72 * most, method=debit(kind))
    assert rule_at(last_free, last_free.now, rule="debit_representment") is None
    assert_never(case(*tries, now=LONG_AGO, method=debit(kind)), "debit_representment")


@pytest.mark.parametrize("kind", sorted(network_rules.DEBIT_RULES))
def test_a_debit_comes_again_only_within_its_window(kind: str) -> None:
    _, _, window = network_rules.DEBIT_RULES[kind]
    view = case(returned("insufficient_funds"), now=72, method=debit(kind))
    end = OPENED + window
    assert rule_at(view, end - SECOND, rule="debit_representment") is None
    span = rule_at(view, end, rule="debit_representment")
    assert span is not None
    assert span.until is None


@pytest.mark.parametrize(
    ("kind", "code"),
    [("us_bank_account", "refer_to_customer"), ("us_bank_account", "generic_could_not_process"),
     ("sepa_debit", "debit_not_authorized"), ("sepa_debit", "generic_could_not_process"),
     ("bacs_debit", "account_closed"), ("sepa_debit", "never_seen_before")],
)  # fmt: skip
def test_a_debit_returned_for_another_reason_is_not_presented_again(kind: str, code: str) -> None:
    assert_never(case(returned(code), now=72, method=debit(kind)), "debit_representment")


def test_a_later_harmless_return_does_not_lift_an_earlier_final_one() -> None:
    tries = (
        returned("generic_could_not_process"),
        returned("insufficient_funds", hours=100, source=Source.MANUAL),
    )
    assert_never(case(*tries, now=200, method=debit("sepa_debit")), "debit_representment")


@pytest.mark.parametrize("kind", sorted(network_rules.DEBIT_RULES))
def test_debits_are_presented_on_working_days(kind: str) -> None:
    view = case(returned("insufficient_funds"), now=73, method=debit(kind))
    saturday = datetime(2026, 3, 7, tzinfo=UTC)
    assert rule_at(view, saturday - SECOND) is None
    assert rule_at(view, saturday) is not None
    assert_ends(view, "debit_weekend", saturday + timedelta(days=2))
    assert rule_at(view, saturday + timedelta(days=8), rule="debit_weekend") is not None


def test_a_sunday_is_still_that_weekend() -> None:
    sunday = datetime(2026, 3, 8, 12, tzinfo=UTC)
    view = replace(case(returned("insufficient_funds"), method=debit("sepa_debit")), now=sunday)
    assert_ends(view, "debit_weekend", datetime(2026, 3, 9, tzinfo=UTC))


def test_cards_know_no_weekend() -> None:
    assert_free(case(attempt()), "debit_weekend")


# -- the table itself


def test_every_rule_says_what_it_says_and_where_from() -> None:
    names = [rule.name for rule in network_rules.RULES]
    assert len(names) == len(set(names))
    assert all(rule.says and rule.source for rule in network_rules.RULES)


def test_of_several_the_one_that_holds_longest_is_named() -> None:
    blocked = attempt(outcome_reason="previously_declined_do_not_retry")
    span = rule_at(case(blocked, now=1), after(2))
    assert span is not None
    assert (span.rule, span.until) == ("velocity_block", after(72))
