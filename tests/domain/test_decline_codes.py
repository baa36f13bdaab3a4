"""The table of decline codes, and what is made of codes that nobody has seen."""

import csv
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retry_engine.domain import codes


def test_every_row_is_read_and_none_comes_twice() -> None:
    text = (files("retry_engine.domain") / "decline_codes.csv").read_text(encoding="utf-8")
    rows = [row["code"] for row in csv.DictReader(text.splitlines())]
    assert len(rows) == len(set(rows)) == len(codes.table()) == 85


@pytest.mark.parametrize("code", codes.table().values(), ids=lambda c: c.code)
def test_each_row_makes_sense_by_itself(code: codes.DeclineCode) -> None:
    assert code.retryable in {"yes", "after_change", "no"}
    assert code.category != "unknown"
    assert code.is_known
    assert code.customer_action
    if code.wait_hours is not None:
        low, high = code.wait_hours
        assert 0 < low <= high
    if code.retryable == "no":
        assert code.wait_hours is None, "nothing to wait for"
    if code.retryable == "yes":
        assert code.wait_hours is not None


@pytest.mark.parametrize("code", ["fraudulent", "lost_card", "stolen_card", "merchant_blacklist"])
def test_the_reason_stays_hidden_where_stripe_asks_for_it(code: str) -> None:
    assert not codes.lookup(code).discloses_reason


@pytest.mark.parametrize(
    "code",
    "incorrect_number lost_card pickup_card stolen_card revocation_of_authorization"
    " revocation_of_all_authorizations highest_risk_level transaction_not_allowed"
    " stop_payment_order invalid_account fraudulent".split(),
)
def test_what_stripe_or_visa_call_final_is_final_here(code: str) -> None:
    assert codes.lookup(code).retryable == "no"


def test_no_code_and_the_bare_error_code_read_as_a_generic_decline() -> None:
    assert codes.lookup(None).code == codes.lookup("card_declined").code == "generic_decline"


def test_a_partners_prefix_is_seen_through() -> None:
    assert codes.lookup("partner_insufficient_funds") == codes.lookup("insufficient_funds")
    assert codes.lookup("partner_high_risk_customer").code == "partner_high_risk_customer"


@given(st.text(max_size=40))
def test_any_other_text_is_a_soft_unknown_code(text: str) -> None:
    known = codes.table()
    found = codes.lookup(text)
    if text in known or text.removeprefix("partner_") in known or text == "card_declined":
        assert found.is_known
        return
    assert not found.is_known
    assert (found.code, found.retryable, found.wait_hours) == (text, "yes", (48.0, 72.0))
    assert not found.is_technical
