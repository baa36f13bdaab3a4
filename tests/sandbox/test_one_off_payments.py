"""Payments that belong to no invoice: by the API as its guides say, and by somebody else."""

import base64
from typing import Any

import pytest
import stripe
from sandbox_shop import Shop
from stripe_schema import object_errors


def test_a_payment_is_made_held_captured_in_part_and_given_up(shop: Shop) -> None:
    intents = shop.stripe.v1.payment_intents
    waiting = intents.create({"amount": 2000, "currency": "usd"})
    assert waiting.status == "requires_payment_method"
    named = intents.update(waiting.id, {"payment_method": "pm_card_visa", "amount": 2500})
    assert (named.status, named.amount) == ("requires_confirmation", 2500)
    assert intents.confirm(waiting.id).status == "succeeded"
    held = intents.create(
        {"amount": 900, "currency": "eur", "payment_method": "pm_card_visa", "confirm": True,
         "capture_method": "manual"}
    )  # fmt: skip
    assert (held.status, held.amount_capturable) == ("requires_capture", 900)
    taken = intents.capture(held.id, {"amount_to_capture": 400})
    assert (taken.status, taken.amount_received) == ("succeeded", 400)
    given_up = intents.create({"amount": 100, "currency": "usd"})
    assert intents.cancel(given_up.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError) as over:
        intents.confirm(given_up.id, {"payment_method": "pm_card_visa"})
    assert over.value.code == "payment_intent_unexpected_state"
    shop.until_quiet()
    assert {
        "payment_intent.created", "payment_intent.succeeded", "payment_intent.canceled",
        "payment_intent.amount_capturable_updated", "charge.captured", "charge.succeeded",
    } <= shop.inbox.types()  # fmt: skip
    rows: list[Any] = [*intents.list().data, *shop.stripe.v1.charges.list().data]
    assert [error for row in rows for error in object_errors(row.to_dict())] == []


@pytest.mark.parametrize("off_session", [True, False])
def test_a_bank_that_asks_declines_who_is_away_and_challenges_who_is_there(
    shop: Shop, off_session: bool
) -> None:
    customer = shop.stripe.v1.customers.create()
    wanted: Any = {
        "amount": 2000, "currency": "usd", "customer": customer.id, "confirm": True,
        "payment_method": "pm_card_authenticationRequired", "off_session": off_session,
    }  # fmt: skip
    if off_session:
        with pytest.raises(stripe.CardError) as declined:
            shop.stripe.v1.payment_intents.create(wanted)
        assert declined.value.code == "authentication_required"
        intent = shop.stripe.v1.payment_intents.list({"customer": customer.id}).data[0]
        assert intent.status == "requires_payment_method"
    else:
        intent = shop.stripe.v1.payment_intents.create(wanted)
        assert intent.status == "requires_action"
        assert shop.ledger() == []


def test_other_charges_on_a_renewals_card_are_listed_and_told_and_are_no_attempts_of_it(
    shop: Shop,
) -> None:
    customer, method, invoice = shop.failed_renewal("insufficient_funds", "lost_card", "succeeded")
    act = {"customer": customer.id, "act": "other_charge", "amount": 700}
    declined = shop.http.post("/_sandbox/act", json=act).raise_for_status().json()
    assert (declined["status"], declined["outcome"]["reason"]) == ("failed", "lost_card")
    paid = shop.stripe.v1.payment_intents.create(
        {"amount": 800, "currency": "usd", "customer": customer.id, "payment_method": method.id,
         "off_session": True, "confirm": True}
    )  # fmt: skip
    charges = shop.stripe.v1.charges.list({"customer": customer.id}).data
    amounts = [(c.amount, c.status) for c in charges]
    assert sorted(amounts[:2]) == [(700, "failed"), (800, "succeeded")]
    assert len(shop.ledger(invoice)) == 1
    assert shop.stripe.v1.invoices.retrieve(invoice.id).status == "open"
    tied = shop.stripe.v1.invoice_payments.list(
        {"payment": {"type": "payment_intent", "payment_intent": paid.id}}
    )
    assert tied.data == []
    shop.until_quiet()
    told = [e["data"]["object"] for e in shop.inbox.events() if e["type"].startswith("charge.")]
    assert {700, 800} <= {charge["amount"] for charge in told}


def test_curls_basic_authentication_is_let_in_and_a_live_key_is_not(shop: Shop) -> None:
    assert shop.http.get("/v1/customers", auth=("sk_test_anything", "")).status_code == 200
    assert shop.http.get("/v1/customers", auth=("sk_live_anything", "")).status_code == 401
    broken = {"Authorization": f"Basic {base64.b64encode(b'nonsense').decode()}x"}
    assert shop.http.get("/v1/customers", headers=broken).status_code == 401


def test_a_customer_is_made_with_a_test_card_as_the_guides_do(shop: Shop) -> None:
    customer = shop.stripe.v1.customers.create(
        {"payment_method": "pm_card_visa",
         "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    )  # fmt: skip
    saved = shop.stripe.v1.customers.payment_methods.list(customer.id).data
    assert customer.invoice_settings is not None
    assert [m.id for m in saved] == [customer.invoice_settings.default_payment_method]
    with pytest.raises(stripe.CardError):
        shop.stripe.v1.customers.create({"payment_method": "pm_card_chargeDeclined"})
    assert [c.id for c in shop.stripe.v1.customers.list().data] == [customer.id]
