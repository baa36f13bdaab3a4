"""What only other open invoices tell of a customer's methods, when a table of cases is decided."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from retry_engine import evaluation

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
CARD = {
    "payment_method_id": "pm_1", "method_type": "card", "card_brand": "visa",
    "card_funding": "debit", "card_country": "DE", "card_exp": "2029-05",
    "card_fingerprint": "fp_1",
}  # fmt: skip


def attempt(code: str | None, *, days: float, **more: Any) -> dict[str, Any]:
    return {
        **CARD, "at": NOW - timedelta(days=days), "amount": 2900, "currency": "eur",
        "outcome": "failed" if code else "succeeded", "decline_code": code, "source": "stripe",
        **more,
    }  # fmt: skip


def elsewhere(code: str | None, *, days: float, **more: Any) -> dict[str, Any]:
    return attempt(code, days=days, invoice_id="in_other", **more)


def plan(*others: Any, opening: str = "insufficient_funds", **policy: Any) -> dict[str, Any]:
    row = {
        "case_id": "in_1", "invoice_id": "in_1", "customer_id": "cus_1", "now": NOW,
        "opened_at": NOW - timedelta(days=3), "deadline_at": NOW + timedelta(days=27),
        "amount": 2900, "currency": "eur", "attempts": [attempt(opening, days=3)],
        "payment_methods": [{**CARD, "is_default": True, "added_at": None}],
        "messages": [], "offers": [], "other_attempts": list(others),
        "customer_country": "DE",
    }  # fmt: skip
    chosen = evaluation.prior_policy(**policy)
    [found] = chosen.decide(pd.DataFrame([row])).to_dict("records")
    return {str(name): value for name, value in found.items()}


def test_without_other_attempts_the_card_is_charged() -> None:
    assert plan()["payment_method_id"] == "pm_1"


@pytest.mark.parametrize(
    "code", ["lost_card", "invalid_account", "stop_payment_order", "transaction_not_allowed"]
)
def test_a_card_that_another_open_invoice_was_refused_on_for_good_is_not_charged(code: str) -> None:
    assert pd.isna(plan(elsewhere(code, days=1))["retry_at"])


def test_a_charge_of_another_invoice_counts_for_the_gap() -> None:
    assert plan(elsewhere("do_not_honor", days=0.1))["retry_at"] >= NOW + timedelta(days=1.9)


def test_fifteen_in_thirty_days_are_counted_over_all_invoices() -> None:
    many = [elsewhere("issuer_not_available", days=2 + n / 10) for n in range(14)]
    oldest = NOW - timedelta(days=3.3)
    assert plan(*many)["retry_at"] >= oldest + timedelta(days=30)


def test_a_payment_of_another_invoice_frees_the_card() -> None:
    assert pd.isna(plan(opening="incorrect_cvc")["retry_at"])
    assert plan(elsewhere(None, days=1), opening="incorrect_cvc")["payment_method_id"] == "pm_1"


def test_what_the_log_holds_already_counts_once() -> None:
    made = [elsewhere("issuer_not_available", days=2 + n / 10) for n in range(8)]
    log = pd.DataFrame([{**a, "kind": "attempt", "customer_id": "cus_1"} for a in made])
    assert plan(*made, log=log)["retry_at"] == plan(*made)["retry_at"]
    assert plan(*made, log=log)["retry_at"] < NOW + timedelta(days=20)


def test_what_is_told_twice_counts_once_and_the_case_itself_is_no_other() -> None:
    many = [elsewhere("issuer_not_available", days=2 + n / 10) for n in range(8)]
    assert plan(*many, *many)["retry_at"] == plan(*many)["retry_at"]
    own = [attempt("insufficient_funds", days=3, invoice_id="in_1")] * 20
    assert plan(*own)["retry_at"] == plan()["retry_at"]


def test_what_a_log_alone_knows_binds_the_prior_too() -> None:
    lost = elsewhere("lost_card", days=100)
    log = pd.DataFrame([{**lost, "kind": "attempt", "customer_id": "cus_1"}])
    assert pd.isna(plan(log=log)["retry_at"])


@pytest.mark.parametrize("code", ["expired_card", "incorrect_cvc", "authentication_required"])
@pytest.mark.parametrize("days", [90, 900])
def test_an_old_decline_of_another_invoice_shuts_no_card_that_has_answered_since(
    code: str, days: float
) -> None:
    assert plan(elsewhere(code, days=days))["payment_method_id"] == "pm_1"
