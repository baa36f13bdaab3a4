"""What a case owed when it opened, what it owes now, and what came in."""

import pytest
from engine_shop import EngineShop

pytestmark = pytest.mark.integration


def _amounts(case: dict[str, object]) -> tuple[object, object, object]:
    return case["amount_at_open"], case["amount_remaining"], case["amount_recovered"]


def test_what_the_engine_charged_is_recovered_and_owed_no_more(engine_shop: EngineShop) -> None:
    customer, _, invoice = engine_shop.fails("do_not_honor")
    owed = engine_shop.case(invoice)["amount_at_open"]
    assert _amounts(engine_shop.case(invoice)) == (owed, owed, 0)
    engine_shop.days_pass(customer, 31, step_hours=12)
    assert _amounts(engine_shop.case(invoice)) == (owed, owed, 0)  # given up: it is still owed

    customer, _, invoice = engine_shop.fails("do_not_honor", "succeeded")
    owed = engine_shop.case(invoice)["amount_at_open"]
    engine_shop.days_pass(customer, 29)
    case = engine_shop.case(invoice)
    assert case["close_reason"] == "recovered_by_engine"
    assert _amounts(case) == (owed, 0, owed)


def test_what_was_paid_elsewhere_is_recovered_too_and_what_is_void_is_not_owed(
    engine_shop: EngineShop,
) -> None:
    _, _, invoice = engine_shop.fails("lost_card")
    owed = engine_shop.case(invoice)["amount_at_open"]
    engine_shop.shop.stripe.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
    engine_shop.works()
    case = engine_shop.case(invoice)
    assert case["close_reason"] == "recovered_elsewhere"
    assert _amounts(case) == (owed, 0, owed)

    _, _, invoice = engine_shop.fails("lost_card")
    engine_shop.shop.stripe.v1.invoices.void_invoice(invoice.id)
    engine_shop.works()
    case = engine_shop.case(invoice)
    assert case["close_reason"] == "voided"
    assert _amounts(case) == (owed, 0, 0)
