"""Who signed up again after the failure is not charged for the old invoice as well."""

from typing import Any

import pytest
from engine_shop import EngineShop

pytestmark = pytest.mark.integration


def _price_of(here: EngineShop, invoice: Any) -> Any:
    ref = invoice.parent.subscription_details.subscription
    return here.shop.stripe.v1.subscriptions.retrieve(ref)["items"].data[0].price


def _another_price(here: EngineShop, product: str) -> str:
    wanted: Any = {
        "currency": "usd",
        "unit_amount": 20000,
        "recurring": {"interval": "year"},
        "product": product,
    }
    return str(here.shop.stripe.v1.prices.create(wanted).id)


def _signs_up_again(here: EngineShop, customer: Any, price: str) -> Any:
    new = here.another_method(customer, *["succeeded"] * 5)
    wanted: Any = {
        "customer": customer.id,
        "items": [{"price": price}],
        "default_payment_method": new.id,
    }
    return here.shop.stripe.v1.subscriptions.create(wanted)


def _failed(here: EngineShop) -> tuple[Any, Any]:
    customer, _, invoice = here.fails("insufficient_funds", *["succeeded"] * 4)
    assert here.case(invoice)["next_action"]["kind"] == "retry"
    return customer, invoice


def _open_review(here: EngineShop, invoice: Any) -> dict[str, Any]:
    case = here.case(invoice)
    assert case["state"] == "in_review"
    found = here.engine.operations.list_reviews(state="open")["data"]
    assert [r["case"] for r in found] == [case["id"]]
    review: dict[str, Any] = found[0]
    return review


@pytest.mark.parametrize("same", ["price", "product"])
def test_who_signed_up_again_is_not_charged_for_the_old_invoice(
    engine_shop: EngineShop, same: str
) -> None:
    customer, invoice = _failed(engine_shop)
    price = _price_of(engine_shop, invoice)
    wanted = price.id if same == "price" else _another_price(engine_shop, price.product)
    new = _signs_up_again(engine_shop, customer, wanted)
    engine_shop.works()  # no time has passed: the sign-up itself was looked at
    review = _open_review(engine_shop, invoice)
    assert new.id in review["reason"]
    assert "probably not owed any more" in review["reason"]
    engine_shop.days_pass(customer, 6, step_hours=48)
    assert engine_shop.engine_charges(invoice) == []
    assert _open_review(engine_shop, invoice)["id"] == review["id"]


def test_another_product_holds_nothing(engine_shop: EngineShop) -> None:
    customer, invoice = _failed(engine_shop)
    product = engine_shop.shop.stripe.v1.products.create({"name": "Something else"})
    _signs_up_again(engine_shop, customer, _another_price(engine_shop, product.id))
    engine_shop.days_pass(customer, 8, step_hours=24)
    assert engine_shop.case(invoice)["close_reason"] == "recovered_by_engine"


def test_one_that_was_there_before_the_failure_holds_nothing(engine_shop: EngineShop) -> None:
    customer, _ = engine_shop.shop.customer_with("succeeded", "insufficient_funds", "succeeded")
    first = engine_shop.shop.subscribed(customer)
    _signs_up_again(engine_shop, customer, first["items"].data[0].price.id)
    engine_shop.shop.advances(customer, days=31, hours=2)
    engine_shop.works()
    [case] = engine_shop.engine.operations.list_cases()["data"]
    assert case["next_action"]["kind"] == "retry"


@pytest.mark.parametrize("ended", ["canceled", "incomplete"])
def test_one_that_serves_nobody_holds_nothing(engine_shop: EngineShop, ended: str) -> None:
    customer, invoice = _failed(engine_shop)
    v1 = engine_shop.shop.stripe.v1
    price = _price_of(engine_shop, invoice).id
    if ended == "canceled":
        v1.subscriptions.cancel(_signs_up_again(engine_shop, customer, price).id)
    else:
        bad = engine_shop.another_method(customer, "do_not_honor")
        wanted: Any = {"customer": customer.id, "items": [{"price": price}]}
        wanted["default_payment_method"] = bad.id
        assert v1.subscriptions.create(wanted).status == ended
    engine_shop.works()
    assert engine_shop.case(invoice)["state"] == "open"


def test_who_says_that_it_is_owed_all_the_same_is_not_asked_again(
    engine_shop: EngineShop,
) -> None:
    customer, invoice = _failed(engine_shop)
    price = _price_of(engine_shop, invoice).id
    _signs_up_again(engine_shop, customer, price)
    engine_shop.works()
    review = _open_review(engine_shop, invoice)
    engine_shop.engine.operations.decide_review(
        review["id"], verdict="approve", reason="they have two seats", by="ops"
    )
    engine_shop.works()
    assert engine_shop.case(invoice)["state"] == "open"
    # another one is another question
    third = _signs_up_again(engine_shop, customer, price)
    engine_shop.works()
    review = _open_review(engine_shop, invoice)
    assert third.id in review["reason"]
    engine_shop.engine.operations.decide_review(
        review["id"], verdict="approve", reason="three", by="ops"
    )
    engine_shop.days_pass(customer, 8, step_hours=24)
    assert engine_shop.case(invoice)["close_reason"] == "recovered_by_engine"
    assert len(engine_shop.engine_charges(invoice)) == 1


def test_a_dispute_and_a_second_subscription_are_asked_about_together(
    engine_shop: EngineShop,
) -> None:
    customer, invoice = _failed(engine_shop)
    act = {"customer": customer.id, "act": "dispute"}
    engine_shop.shop.http.post("/_sandbox/act", json=act).raise_for_status()
    engine_shop.works()
    new = _signs_up_again(engine_shop, customer, _price_of(engine_shop, invoice).id)
    engine_shop.works()
    review = _open_review(engine_shop, invoice)
    assert "dispute" in review["reason"]
    assert new.id in review["reason"]


def test_a_sign_up_between_the_plan_and_the_charge_stops_the_charge(
    engine_shop: EngineShop,
) -> None:
    customer, invoice = _failed(engine_shop)
    for _ in range(20):
        engine_shop.shop.advances(customer, hours=12)
        engine_shop.works(leave="retry")
        if claimed := engine_shop.claimed():
            break
    [action] = claimed
    new = _signs_up_again(engine_shop, customer, _price_of(engine_shop, invoice).id)
    engine_shop.engine.worker.run_action(action)  # nobody has told the engine of it yet
    assert engine_shop.engine_charges(invoice) == []
    engine_shop.works()
    assert new.id in _open_review(engine_shop, invoice)["reason"]
