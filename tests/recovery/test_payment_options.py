"""What the checkout of a customer is told."""

import pytest
from engine_shop import API_TOKEN, EngineShop
from starlette.testclient import TestClient

from retry_engine.app.payment_options import order
from retry_engine.domain.errors import NotFound
from retry_engine.entrypoints.web.app import create_app

pytestmark = pytest.mark.integration


def test_the_customers_checkout_gets_an_order_and_strangers_a_problem(
    engine_shop: EngineShop,
) -> None:
    customer, _, _ = engine_shop.fails("insufficient_funds")
    app = create_app(engine_shop.engine, clock=lambda: 0.0)
    web = TestClient(app, headers={"Authorization": f"Bearer {API_TOKEN}"})
    answer = web.get(f"/api/customers/{customer.id}/payment-options")
    assert answer.status_code == 200
    told = answer.json()
    assert told["offer"] is None
    kinds = told["payment_method_order"]
    assert "card" in kinds
    assert len(kinds) == len(set(kinds))
    assert web.get("/api/customers/cus_nobody/payment-options").status_code == 404
    with pytest.raises(NotFound, match="cus_nobody"):
        engine_shop.engine.customers.payment_options("cus_nobody")


def test_a_debit_is_offered_first_where_debits_go_through_and_cards_do_not() -> None:
    assert order("DE", {}, {}, None)[0] == "card"
    shares = {"card": (20, 100), "sepa_debit": (90, 100)}
    assert order("DE", shares, {}, None)[0] == "sepa_debit"


def test_a_type_whose_method_the_model_expects_to_succeed_comes_first() -> None:
    assert order("DE", {}, {"sepa_debit": 0.9}, None)[0] == "sepa_debit"


@pytest.mark.parametrize("category", ["authentication", "card_data", "hard_card"])
def test_wallets_come_first_where_the_card_itself_was_the_trouble(category: str) -> None:
    assert order("US", {}, {}, category)[:3] == ["apple_pay", "google_pay", "link"]
    assert order("US", {}, {}, "insufficient_funds")[0] == "card"


def test_a_few_payments_do_not_turn_the_order_round() -> None:
    assert order("GB", {"card": (0, 1), "bacs_debit": (1, 1)}, {}, None)[0] == "card"
